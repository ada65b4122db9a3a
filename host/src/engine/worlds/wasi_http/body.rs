//! Responses without a body: those to HEAD, and those with a status such as 304.
//!
//! The bindings check a body against its Content-Length and report a shorter one to the guest. In
//! such a response, the length is that of the body for GET (RFC 9110 section 8.6), and no body is
//! written.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::HostOutgoingResponse as _;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;

use super::super::network::BLOCK_BYTES;
use crate::engine::call::state::HostState;
use crate::http1::is_bodiless;

/// The interface of responses, with the version that the bindings use: another name would add a
/// second definition.
const TYPES: &str = "wasi:http/types@0.2.12";

/// The maximum number of blocks between the guest and the task that sends its body: the same as in
/// the bindings.
const WAITING_BLOCKS: usize = 1;

/// The result of `body`.
type Given = (Result<Resource<HostOutgoingBody>, ()>,);

/// Replaces the bindings' `outgoing-response.body` for responses without a body.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap(
        "[method]outgoing-response.body",
        |mut store, (response,): (Resource<HostOutgoingResponse>,)| -> wasmtime::Result<Given> {
            let state: &mut HostState = store.data_mut();
            let is_head = state.environ.head.method() == "HEAD";
            let mut http = state.http();
            let given = http.table.get_mut(&response)?;
            let has_body = !is_head && !is_bodiless(given.status.as_u16());
            if has_body || given.body.is_some() {
                return Ok((http.body(response)?,));
            }
            let context = StreamContext::Response;
            let (host, body) = HostOutgoingBody::new(context, None, WAITING_BLOCKS, BLOCK_BYTES);
            given.body = Some(body);
            Ok((Ok(http.table.push(host)?),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
