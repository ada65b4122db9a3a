//! What the host offers to guests: the gateway, and WASI without files, network or environment.

use wasmtime::component::{HasSelf, Linker};

use super::bindings::wasgi::gateway::gateway;
use super::state::State;

/// Everything that a handler may import.
pub(super) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    gateway::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}
