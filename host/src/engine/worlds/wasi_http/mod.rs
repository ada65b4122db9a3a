//! Handlers of the world `wasi:http/proxy` 0.2: requests and responses are resources, in the
//! bindings of `wasmtime-wasi-http`, on top of the same exchange as for other handlers.
//!
//! The guest's `handle` sets a response at some time and writes its body to a stream. Meanwhile,
//! the same call sends the response to the client (see `beside`). hyper's server is not involved,
//! only its body types.

mod body;
mod request;
mod respond;

use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{
    IncomingRequest, ResponseOutparam, Scheme as WasiScheme,
};

use super::beside::{Ended, beside};
use crate::engine::call::state::HostState;
use crate::engine::call::trap::{instantiation_failure, trap_failure};
use crate::engine::limits::line;
use crate::gateway::{Failure, Scheme};
pub(in crate::engine) use body::add_to_linker as add_body_to_linker;
use respond::{Answer, Responder};

/// Answers the request of a store.
pub(in crate::engine) async fn run(
    pre: &ProxyPre<HostState>,
    store: &mut Store<HostState>,
) -> Result<(), Failure> {
    let proxy = pre
        .instantiate_async(&mut *store)
        .await
        .map_err(|error| instantiation_failure(&error, store.data_mut()))?;
    store.data_mut().reservation.settle();
    let (sender, answer) = oneshot::channel();
    let (request, outparam) = resources(store.data_mut(), sender)
        .map_err(|error| Failure::Instantiation(line(&error)))?;
    let responder = Responder::new(store.data());
    let meter = Arc::clone(&store.data().meter);
    let guest = async {
        let handler = proxy.wasi_http_incoming_handler();
        let handled = handler.call_handle(&mut *store, request, outparam).await;
        let state = store.data_mut();
        // After this, the guest can't finish a body or set a response.
        state.drop_wasi();
        match handled {
            Ok(()) => Ok(Ended::Done),
            Err(trap) => Err(trap_failure(&trap, state)),
        }
    };
    beside(&meter, guest, responder.carry(answer)).await
}

/// Returns the arguments of `handle`.
fn resources(
    state: &mut HostState,
    sender: oneshot::Sender<Answer>,
) -> wasmtime::Result<(Resource<IncomingRequest>, Resource<ResponseOutparam>)> {
    let request = request::from_environ(&state.environ, Arc::clone(&state.exchange))?;
    let scheme = match state.environ.scheme {
        Scheme::Http => WasiScheme::Http,
        Scheme::Https => WasiScheme::Https,
    };
    let request = state.http().new_incoming_request(scheme, request)?;
    let outparam = state.http().new_response_outparam(sender)?;
    Ok((request, outparam))
}
