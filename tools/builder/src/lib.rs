//! Builds the server, handlers and the runtimes of scripts, and finds or installs their toolchains:
//! for `cargo xtask` and the other tools, which need something that is built.
//!
//! [`Workspace`] describes what there is to build. [`site`] builds the demo site's handlers where
//! the server serves them; [`handlers`] builds these and others for tests and measurements.

#![forbid(unsafe_code)]

pub mod collector;
pub mod handlers;
pub mod javascript;
pub mod python;
pub mod server;
pub mod site;
pub mod toolchain;
pub mod tracked;

mod freshness;
mod install;
mod record;
mod workspace;

pub use self::install::install_folder;
pub use self::workspace::Workspace;
