//! Outgoing HTTP requests: `wasi:http/outgoing-handler` 0.2.
//!
//! A request to a host that is not granted fails before any part of it is written. With the
//! bindings' `handle`, the guest would learn that only while it writes.

use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiHttp, WasiHttpView};

use super::target::{entry, target};
use crate::engine::call::state::HostState;

/// The interface for outgoing requests. Any 0.2 version matches.
pub(super) const OUTGOING_HANDLER: &str = "wasi:http/outgoing-handler@0.2.0";

/// The interface of the types, with the version that the bindings use: another name would add a
/// second definition.
const TYPES: &str = "wasi:http/types@0.2.12";

/// The parameters and the result of `handle`.
type Arguments = (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>);
type Handled = (Result<Resource<FutureIncomingResponse>, ErrorCode>,);

/// Provides the types of HTTP, and requests to the hosts that are granted.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &options, HostState::http)?;
    linker.instance(OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store, arguments: Arguments| -> wasmtime::Result<Handled> {
            Ok((handle(store.data_mut(), arguments)?,))
        },
    )?;
    // The bindings' function knows no error of a response's body.
    linker.allow_shadowing(true);
    linker.instance(TYPES)?.func_wrap(
        "http-error-code",
        |mut store, (error,): (Resource<types::IoError>,)| {
            let table = store.data_mut().http().table;
            let error = table.get(&error)?.downcast_ref();
            Ok((error.map(body_error_code),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn handle(
    state: &mut HostState,
    (request, options): Arguments,
) -> wasmtime::Result<Result<Resource<FutureIncomingResponse>, ErrorCode>> {
    let table = state.http().table;
    let options = match options {
        Some(options) => Some(table.delete(options)?),
        None => None,
    };
    let asked = table.get(&request)?;
    let scheme = asked.scheme.clone();
    let authority = asked.authority.clone().unwrap_or_default();
    let is_tunnel = matches!(asked.method, types::Method::Connect);
    let target = target(scheme.as_ref(), &authority);
    let network = state.network();
    let refused = match target {
        Err(code) => Some(code),
        Ok(_) if is_tunnel => Some(ErrorCode::HttpRequestMethodInvalid),
        Ok(target) if network.allows(&target) => None,
        Ok(target) => {
            network.denials.not_granted(&entry(&target));
            Some(ErrorCode::HttpRequestDenied)
        }
    };
    network.options = options;
    if let Some(code) = refused {
        state.http().table.delete(request)?;
        return Ok(Err(code));
    }
    match state.http().handle(request, None) {
        Ok(response) => Ok(Ok(response)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Returns an error of a response's body as the guest sees it.
fn body_error_code(error: &Error) -> ErrorCode {
    match error {
        Error::HttpResponseBodySize(limit) => ErrorCode::HttpResponseBodySize(*limit),
        Error::ConnectionReadTimeout => ErrorCode::ConnectionReadTimeout,
        Error::HttpResponseIncomplete => ErrorCode::HttpResponseIncomplete,
        Error::HttpResponseHeaderSectionSize(limit) => {
            // Trailers have the limit of the head.
            ErrorCode::HttpResponseTrailerSectionSize(*limit)
        }
        _ => ErrorCode::HttpProtocolError,
    }
}
