//! What a `wasi:http` handler may do beyond its own request: nothing. It has no network.

use std::future::Future;

use http::{Request, Response};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The most that a guest writes to its response's body at a time, in bytes. Two such blocks wait
/// for the client at most.
const BLOCK_BYTES: usize = 64 * 1024;

/// Refuses every request that a guest wants to send.
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
