//! The kinds of handlers: what each imports and exports, and how it serves a request.
//!
//! - `kind` determines the kind of a component. `pre` is a program that is linked as its kind.
//! - `imports` has the functions that each kind can import; `refused`, `unlinked` and `missing` are
//!   about those that it can't use.
//! - `network` has connections to other hosts, which each kind can be granted.
//! - `open_files` limits the files that a handler has open. `list_folder` lists folders.
//! - `key_value` has `wasi:keyvalue`.
//! - `gateway`, `wasi_http` and `command` call a handler of their kind. In the last two, the guest
//!   runs beside the code that sends its response (`beside`).

mod beside;
pub(super) mod command;
pub(super) mod gateway;
pub(super) mod imports;
pub(super) mod key_value;
pub(super) mod kind;
mod list_folder;
pub(super) mod missing;
pub(super) mod network;
pub(super) mod open_files;
pub(super) mod pre;
pub(super) mod refused;
pub(super) mod unlinked;
pub(super) mod wasi_http;
