//! The network access of a `wasi:http` handler: none.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest,
};
use wasmtime_wasi_http::{RequestOptions, WasiHttpView};

use crate::engine::call::refusals::Thing;
use crate::engine::call::state::State;
use crate::printable;

/// The maximum length of a request's authority in the log, in bytes: the longest host name, and a
/// port (RFC 1035 section 3.1).
const AUTHORITY_BYTES: usize = 255 + ":65535".len();

/// The interface for outgoing requests. Any 0.2 version matches.
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.0";

/// The parameters and the result of `handle`.
type Arguments = (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>);
type Handled = (Result<Resource<FutureIncomingResponse>, ErrorCode>,);

/// Provides that interface, and rejects each call before any part of the request is written. With
/// the bindings' `handle`, the guest would learn that only while it writes.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store, (request, options): Arguments| -> wasmtime::Result<Handled> {
            let state: &mut State = store.data_mut();
            let table = state.http().table;
            let request = table.delete(request)?;
            if let Some(options) = options {
                table.delete(options)?;
            }
            let whom = request.authority.unwrap_or_default();
            let whom = printable::front(&whom, AUTHORITY_BYTES);
            let text = format!("its request to {whom:?} was denied: handlers have no network");
            state.refuse(Thing::Network, &text);
            Ok((Err(ErrorCode::HttpRequestDenied),))
        },
    )
}
