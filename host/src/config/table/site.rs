//! The keys of `[site]`, `[bundle]` and `[oci]`: what is served.

use super::super::Config;
use super::super::key::FlagKind::*;
use super::super::key::{Key, Place, key, place};
use super::super::value::Field;
use super::at::at;
use super::bounds::MIB;
use crate::units::size;

pub(super) const SITE_KEYS: &[Key<Config>] = &[
    key("site.root", at!(site.root))
        .unset("the site's `html`")
        .restart()
        .flag("--root", Folder, "The folder of pages [default: SITE/html]")
        .doc("the folder of pages"),
    key("site.handlers", at!(site.handlers))
        .unset("the site's `handlers`")
        .restart()
        .flag(
            "--handlers",
            Folder,
            "The folder of handlers [default: SITE/handlers]",
        )
        .for_trials()
        .doc("the folder of handlers"),
    key("site.code-cache", at!(site.code_cache))
        .unset("the folder `wasgi/code` in the user's cache folder")
        .restart()
        .flag(
            "--code-cache",
            Folder,
            "The folder for compiled handlers, which makes restarts fast; `none` disables it \
             [default: wasgi/code in the user's cache folder]",
        )
        .for_trials()
        .doc(
            "where compiled handlers are stored; `\"none\"` disables the cache; see \
             [below](#the-code-cache)",
        ),
    key("site.runtime", at!(site.runtime))
        .unset("the folder `runtime` beside the program or its folder, or that of a package")
        .restart()
        .doc(
            "the folder of the runtimes for scripts in [Python](python.md#scripts) and \
             [JavaScript](javascript.md), which `cargo xtask runtime` creates",
        ),
    key("site.build", at!(site.build))
        .restart()
        .flag(
            "--build",
            On,
            "Build the projects in the folders of handlers when they change",
        )
        .doc(
            "whether the server [builds projects](projects.md) in the folders of handlers when they \
             change: a build runs with all rights of the server's user",
        ),
    key("site.allow-overlap", at!(site.allow_overlap))
        .restart()
        .flag(
            "--allow-overlap",
            On,
            "Serve even if the folder of pages contains the handlers or wasgi.toml, which \
             visitors can then read",
        )
        .doc(
            "whether the server starts if the folder of pages contains more than pages; see below",
        ),
    key("site.default-host", at!(site.default_host)).doc(
        "whether the folders of `[site]` answer requests to hosts that have no table in \
         [`[hosts]`](hosts.md); otherwise they get 421 (Misdirected Request)",
    ),
    key("site.code-cache-size", at!(site.code_cache_bytes))
        .restart()
        .size(MIB, size::MAX_BYTES)
        .doc(
            "the maximum size of compiled handlers on disk, {bounds}; the least recently used are \
             removed",
        ),
    key("bundle.public-key", at!(bundle.public_key))
        .unset("none: bundles need no signature")
        .doc(
            "the key that must have signed a [bundle](deploying.md#signed-bundles), as minisign \
             prints it; only in the file that `--config` names",
        ),
    key("bundle.cache", at!(bundle.cache))
        .unset("the folder `wasgi/bundles` in the user's cache folder")
        .doc(
            "the folder to which [bundles](deploying.md#bundles) are unpacked; only in the file that \
             `--config` names",
        ),
    key("oci.store", at!(oci.store))
        .unset("the folder `wasgi/oci` in the user's cache folder")
        .restart()
        .doc("the folder in which artifacts from [registries](registries.md) are stored"),
    key("oci.credentials", at!(oci.credentials))
        .unset("`config.json` in `DOCKER_CONFIG` or `~/.docker`")
        .doc(
            "the file with the [passwords](registries.md#passwords) of registries, in docker's \
             format",
        ),
    key("oci.plain-http", at!(oci.plain_http)).doc(
        "registries that are reached without TLS, as their references name them: \
         `\"registry.lan:5000\"`; those at loopback addresses always are",
    ),
];
