//! The implementation of an environ and a `start_response`: the server's resources in a component,
//! and values in memory in a native build, so that handlers can be tested as normal functions.
//!
//! Both implement `Environ::{get, variables, read, write_errors}` and
//! `StartResponse::{call, write}`.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{Environ, Head, Incoming, Outgoing, StartResponse, lock};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::{Environ, StartResponse};
