//! What is behind an environ and a `start_response`: the server's resources in a component, and
//! values in memory natively, so that handlers can be tested as the plain functions they are.
//!
//! Both have the same methods: `Environ::{get, variables, read, write_errors}` and
//! `StartResponse::{call, write}`.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::{Environ, Head, Incoming, Outgoing, StartResponse, lock};
#[cfg(target_arch = "wasm32")]
pub(crate) use wasm::{Environ, StartResponse};
