//! All keys of the table of a single handler.

use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::bounds::{GIB, KIB, MANY};
use crate::policy::Handler;

/// The keys of one handler's table, `[handlers.NAME]`.
pub(in crate::config) const HANDLER_KEYS: &[Key<Handler>] = &[
    key("source", place!(Handler, source))
        .unset("the file in the folder of handlers")
        .doc("the handler in an OCI registry: `oci://HOST/NAME@sha256:DIGEST`; see [registries](registries.md#handlers-from-registries)"),
    key("reuse", place!(Handler, reuse))
        .unset("`1`")
        .count(1, MANY)
        .doc("requests that one instance serves, one at a time; see below"),
    key("memory", place!(Handler, memory_bytes))
        .unset("that of `[budget]`")
        .size(64 * KIB, 4 * GIB)
        .within("budget.memory")
        .doc("see `budget.memory`, which is also the maximum"),
    key("wall-time", place!(Handler, wall_time))
        .unset("that of `[budget]`")
        .doc("see `budget.wall-time`"),
    key("cpu-time", place!(Handler, cpu_time))
        .unset("that of `[budget]`")
        .doc("see `budget.cpu-time`"),
    key("concurrent-requests", place!(Handler, concurrent_requests))
        .unset("that of `[budget]`")
        .count(1, MANY)
        .doc("see `budget.concurrent-requests`"),
    key("environment", place!(Handler, environment))
        .unset("nothing")
        .doc("environment variables: a table of names and values; see [grants](grants.md)"),
    key("secrets", place!(Handler, secrets))
        .unset("nothing")
        .doc("environment variables whose values are kept elsewhere; see [grants](grants.md#secrets)"),
    key("files", place!(Handler, files))
        .unset("nothing")
        .doc("folders: a list of tables; see [grants](grants.md#files)"),
    key("allowed-outbound-hosts", place!(Handler, allowed_outbound_hosts))
        .unset("nothing")
        .doc("hosts to connect to, such as `\"https://api.example.com\"`; see [grants](grants.md#network)"),
    key("key-value", place!(Handler, key_value))
        .unset("nothing")
        .doc("key-value buckets: a list of names; see [state](state.md)"),
];
