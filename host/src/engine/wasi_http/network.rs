//! What a `wasi:http` handler may do beyond its own request: nothing. It has no network.

use std::future::Future;

use http::{Request, Response};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, WasiHttpView};

use crate::engine::refused::Thing;
use crate::engine::state::State;
use crate::printable;

/// The most that a guest writes to its response's body at a time, in bytes. Four such blocks are
/// held for a client that takes none: two in the bindings' channel, one that may be the last, one
/// on its way.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// What the log shows of whom a request was for, in bytes: the longest name of a host, and a port
/// (RFC 1035 section 3.1).
const AUTHORITY_BYTES: usize = 255 + ":65535".len();

/// The interface that requests are sent by. Any 0.2 matches.
const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.0";

/// What `handle` is called with, and what it gives.
type Arguments = (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>);
type Handled = (Result<Resource<FutureIncomingResponse>, ErrorCode>,);

/// Offers that interface, and refuses at the call, before anything of the request is written. The
/// bindings' own `handle` would have the guest find that out while it writes.
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

/// What the bindings ask of their host: to refuse as well, should they come to send anything.
#[derive(Debug)]
pub(in crate::engine) struct NoNetwork;

/// What comes of sending a request, for the guest to wait for.
type Sending = dyn Future<Output = Result<(Response<WasiBody>, Box<Worker>), Error>> + Send;

/// What goes on with a request that was sent.
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
