//! The configuration: from `wasgi.toml`, from flags, and from defaults.
//!
//! Each section of the file is a struct in the module that uses it. [`Config`] contains all of
//! them, and [`Config::visit`] lists them: a section that is added there is read, checked for
//! unknown keys, printed and reloaded. `table` has all that is known about each key: a `key` has a
//! name, bounds, a flag and a line in `docs/configuration.md`, and is live or needs a restart. The
//! steps from a file to a [`Config`]:
//!
//! 1. `file` parses TOML into sections. A key that no section knows (`keys`) is an error that names
//!    the `nearest` one.
//! 2. The flags override it ([`Draft::flag`]); `cli` parses them into a `value`.
//! 3. `site` fills in paths that are not set.
//! 4. `check` adjusts defaults to the values that were set, and checks ranges and contradictions.
//! 5. `overlap`, when serving, checks that the pages contain nothing private.
//!
//! [`ResolvedConfig::show`] prints the result as a file again. `live` repeats these steps when the
//! file has changed, and `handover` passes the result to a worker process.

mod bundled;
mod certificates;
mod check;
mod complaint;
mod draft;
mod file;
mod handover;
mod hosts;
mod key;
mod keys;
mod live;
mod nearest;
mod of_host;
mod overlap;
mod pulled;
mod resolved;
mod sections;
mod show;
mod site;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod wording;

pub(crate) use complaint::Complaint;
pub(crate) use draft::{Draft, Origin};
pub(crate) use key::{Flag, FlagKind, Key};
pub(crate) use live::Live;
pub(crate) use nearest::unknown_handlers;
pub(crate) use of_host::HostSite;
pub(crate) use resolved::{ResolvedConfig, Sources};
pub(crate) use sections::{Config, Section, Visit};
#[cfg(test)]
pub(crate) use show::values;
pub(crate) use site::default_bundle_cache;
pub(crate) use table::all_keys;
pub(crate) use value::Value;
