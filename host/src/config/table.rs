//! All keys of `wasgi.toml`, in the order in which they are printed. The files below have those of
//! a few sections each.
//!
//! A new key is a field in the section's struct, with its default value, and a row in such a file:
//! the name, the bounds, whether a change needs a restart, the flag, and the line in
//! `docs/configuration.md`, which a test compares (`UPDATE_DOCS=1 cargo test -p wasgi --lib config`
//! writes it).

mod at;
mod bounds;
mod budget;
mod handlers;
mod limits;
mod pages;
mod server;
mod site;
mod state;
mod tls;

pub(super) use handlers::HANDLER_KEYS;

use super::Config;
use super::key::{Key, Place, key, place};
use super::value::Field;
use at::at;

/// The keys whose values are tables under names of the user's choice.
const TABLES: &[Key<Config>] = &[
    key("handlers.*", at!(handlers)).unset("nothing").doc(
        "a table for one handler, under the name that `wasgi routes` shows, without its first \
             slash; `\"*\"` applies to handlers without a table",
    ),
    key("hosts.*", at!(hosts)).unset("nothing").doc(
        "a table for one [virtual host](hosts.md), under its name: `example.com`, `*.example.com` \
         for all names with one label in place of `*`, or an address",
    ),
];

/// The keys by the file that has them.
const PARTS: [&[Key<Config>]; 8] = [
    site::SITE_KEYS,
    server::SERVER_KEYS,
    limits::LIMIT_KEYS,
    budget::BUDGET_KEYS,
    TABLES,
    state::STATE_KEYS,
    pages::PAGE_KEYS,
    tls::TLS_KEYS,
];

/// Returns the keys of the whole configuration, by section.
pub(crate) fn all_keys() -> impl DoubleEndedIterator<Item = &'static Key<Config>> {
    PARTS.into_iter().flatten()
}
