//! The WebAssembly Server Gateway Interface: a server for a folder of pages and a folder of
//! sandboxed handlers, each reloaded when its file changes.
//!
//! `docs/ARCHITECTURE.md` is the map of this crate.

mod acme;
mod admin;
mod base64;
mod bundle;
mod cgi;
mod check;
pub mod cli;
pub mod commands;
mod config;
mod confinement;
mod content;
mod deps;
mod descriptor_limits;
mod descriptors;
mod dev;
mod drive;
pub mod engine;
mod exit_cause;
mod file_kind;
mod file_stamp;
mod file_watch;
pub mod gateway;
mod grants;
pub mod heap;
mod host_name;
mod hurl;
mod log;
mod loopback;
mod machine;
mod mapped_bytes;
mod metrics;
mod oci;
mod outbound;
mod permits;
pub mod policy;
pub mod printable;
mod published;
mod redact;
mod registry;
mod regular_file;
mod reload;
pub mod router;
mod sdk;
mod server;
mod service_manager;
pub mod state;
pub mod static_files;
mod supervisor;
mod terminal;
mod top;
mod traces;
mod transfer;
mod upgrade;
mod version_folders;

use wasgi_http1 as http1;
use wasgi_units as units;

/// The value of the `Server` field and of the `SERVER_SOFTWARE` variable.
pub const SERVER_SOFTWARE: &str = concat!("wasgi/", env!("CARGO_PKG_VERSION"));
