//! The network access of a `wasi:http` handler: none.

use std::future::Future;

use http::{Request, Response};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView};

use crate::engine::call::state::State;
use crate::engine::worlds::refused::Thing;
use crate::printable;

/// The maximum size of one write to the response body, in bytes. The host holds four such blocks
/// for a client that doesn't read: two in the bindings' channel, one that may be the last, one in
/// transit.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

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
            let text = format!("its request to {whom:?} was refused: handlers have no network");
            state.refuse(Thing::Network, &text);
            Ok((Err(ErrorCode::HttpRequestDenied),))
        },
    )
}

/// The hooks that the bindings require: they also reject requests, should the bindings ever send
/// one.
#[derive(Debug)]
pub(in crate::engine) struct NoNetwork;

/// The pending response to an outgoing request.
type Sending = dyn Future<Output = Result<(Response<WasiBody>, Box<Worker>), Error>> + Send;

/// The task that drives an outgoing request.
type Worker = dyn Future<Output = Result<(), Error>> + Send;

impl WasiHttpHooks for NoNetwork {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<Worker>,
    ) -> Box<Sending> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BLOCK_BYTES
    }
}
