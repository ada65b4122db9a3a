//! Bodies of responses that have none: those to HEAD, and those with a status such as 304.
//!
//! The bindings hold a body to its Content-Length, and the guest is told when it gives less. Of
//! such a response the length is that of the body which GET would have had (RFC 9110 section 8.6),
//! and nothing of it is given.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::HostOutgoingResponse as _;
use wasmtime_wasi_http::p2::body::{HostOutgoingBody, StreamContext};
use wasmtime_wasi_http::p2::types::HostOutgoingResponse;

use super::network::BLOCK_BYTES;
use crate::engine::state::State;
use crate::http1::is_bodiless;

/// The interface of responses, by the name under which the bindings define it: one by another name
/// would stand beside it.
const TYPES: &str = "wasi:http/types@0.2.12";

/// Blocks that may wait between the guest and what carries its body: as many as the bindings have.
const WAITING_BLOCKS: usize = 1;

/// What `body` gives.
type Given = (Result<Resource<HostOutgoingBody>, ()>,);

/// Replaces the bindings' own `outgoing-response.body` for responses that have no body.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap(
        "[method]outgoing-response.body",
        |mut store, (response,): (Resource<HostOutgoingResponse>,)| -> wasmtime::Result<Given> {
            let state: &mut State = store.data_mut();
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
