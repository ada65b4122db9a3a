//! The WebAssembly Server Gateway Interface: a server for a folder of pages and a folder of
//! sandboxed handlers, each reloaded when its file changes.
//!
//! `docs/ARCHITECTURE.md` is the map of this crate.

pub mod cgi;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod content;
pub mod deps;
pub mod drive;
pub mod engine;
pub mod file_kind;
mod file_stamp;
mod file_watch;
pub mod gateway;
pub mod grants;
mod hurl;
pub mod log;
pub mod machine;
pub mod permits;
pub mod policy;
pub mod printable;
pub mod published;
pub mod registry;
pub mod reload;
pub mod router;
pub mod server;
pub mod static_files;
pub mod supervisor;
mod transfer;

pub use wasgi_http1 as http1;
pub use wasgi_units as units;

/// The value of the `Server` field and of the `SERVER_SOFTWARE` variable.
pub const SERVER_SOFTWARE: &str = concat!("wasgi/", env!("CARGO_PKG_VERSION"));
