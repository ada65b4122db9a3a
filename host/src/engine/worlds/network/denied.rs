//! HTTP for a script while it is loaded: each request is denied.

use std::future::Future;

use http::{Request, Response};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, FutureIncomingResponse, OutgoingRequest,
};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttp, WasiHttpHooks, WasiHttpView};

/// Hooks that send no request.
pub(in crate::engine) struct DeniedHttp;

/// The parameters and the result of `handle`.
type Arguments = (Resource<OutgoingRequest>, Option<Resource<RequestOptions>>);
type Handled = (Result<Resource<FutureIncomingResponse>, ErrorCode>,);

/// The task that drives a request.
type Worker = dyn Future<Output = Result<(), Error>> + Send;

/// Provides the types of HTTP, and denies each request.
pub(in crate::engine) fn add_to_linker<T: WasiHttpView>(
    linker: &mut Linker<T>,
) -> wasmtime::Result<()> {
    let options = types::LinkOptions::default();
    types::add_to_linker::<_, WasiHttp>(linker, &options, T::http)?;
    linker.instance(super::http::OUTGOING_HANDLER)?.func_wrap(
        "handle",
        |mut store, (request, options): Arguments| -> wasmtime::Result<Handled> {
            let table = store.data_mut().http().table;
            table.delete(request)?;
            if let Some(options) = options {
                table.delete(options)?;
            }
            Ok((Err(ErrorCode::HttpRequestDenied),))
        },
    )
}

impl WasiHttpHooks for DeniedHttp {
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<Worker>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Box<Worker>), Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }
}
