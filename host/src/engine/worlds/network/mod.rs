//! A handler's connections to other hosts: HTTP requests and TCP sockets.
//!
//! The bindings of `wasmtime-wasi-http` and `wasmtime-wasi` have the types. Here is what is
//! allowed, and [`crate::outbound`] sends.
//!
//! - `access` is what one instance may use: the hooks of the bindings for HTTP, and its `sockets`.
//! - `http` and `socket_imports` are the functions that guests import.
//! - `trace` has the spans of HTTP requests. `target` is the host of a request. `denied` is for
//!   scripts that are loaded: no request is sent.

mod access;
mod denied;
mod http;
mod socket_imports;
mod sockets;
mod target;
mod trace;

pub(super) use access::BLOCK_BYTES;
pub(in crate::engine) use access::Network;
pub(in crate::engine) use denied::{DeniedHttp, add_to_linker as add_denied_http_to_linker};
pub(in crate::engine) use http::add_to_linker as add_http_to_linker;
pub(in crate::engine) use socket_imports::add_to_linker as add_sockets_to_linker;
pub(in crate::engine) use trace::OutboundTrace;
