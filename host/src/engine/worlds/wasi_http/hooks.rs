//! The hooks that the bindings require.

use std::future::Future;

use http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The maximum size of one write to the response body, in bytes. The host holds four such blocks
/// for a client that doesn't read: two in the bindings' channel, one that may be the last, one in
/// transit.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// Hooks that also reject outgoing requests, should the bindings ever send
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
