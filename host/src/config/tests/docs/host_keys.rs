//! All keys of the table of a virtual host, for the documentation: the file's keys are those of the
//! struct.

use crate::config::hosts::HostOptions;
use crate::config::key::{Key, Place, key, place};
use crate::config::value::Field;

/// The keys of one host's table, `[hosts.NAME]`.
pub(super) const HOST_KEYS: &[Key<HostOptions>] = &[
    key("hosts.*.aliases", place!(HostOptions, aliases))
        .unset("none")
        .doc("further names of the host, up to 100"),
    key("hosts.*.folder", place!(HostOptions, folder))
        .unset("`hosts/NAME` in the site's folder")
        .doc("the folder that has the host's `html` and `handlers`"),
    key("hosts.*.root", place!(HostOptions, root))
        .unset("`html` in the host's folder")
        .doc("the folder of pages"),
    key("hosts.*.handlers-folder", place!(HostOptions, handlers_folder))
        .unset("`handlers` in the host's folder")
        .doc("the folder of handlers"),
    key("hosts.*.cert", place!(HostOptions, cert))
        .unset("that of `[tls]`")
        .doc("the host's certificate, as `tls.cert`"),
    key("hosts.*.key", place!(HostOptions, key))
        .unset("that of `[tls]`")
        .doc("its private key, as `tls.key`"),
    key("hosts.*.acme", place!(HostOptions, acme))
        .unset("`false`")
        .doc("whether the server [obtains the certificate](tls.md#automatic-certificates) itself, as `[acme]` says"),
    key("hosts.*.handlers", place!(HostOptions, handlers))
        .unset("nothing")
        .doc("tables for the host's handlers, with the keys of `[handlers]`, which doesn't apply to them"),
    key("hosts.*.pages", place!(HostOptions, pages))
        .unset("those of `[pages]`")
        .doc("keys of `[pages]` with other values for the host"),
    key("hosts.*.security", place!(HostOptions, security))
        .unset("those of `[security]`")
        .doc("keys of `[security]` with other values for the host"),
    key("hosts.*.compress", place!(HostOptions, compress))
        .unset("those of `[compress]`")
        .doc("keys of `[compress]` with other values for the host"),
];
