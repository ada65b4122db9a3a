//! The host's imports for guests: the gateway, WASI with what is granted, outgoing HTTP requests,
//! and `wasi:keyvalue`; for `wasi:http` handlers, also the body of their responses.

use wasmtime::component::{HasSelf, Linker};

use super::command;
use super::gateway::bindings::wasgi::gateway::gateway;
use super::key_value;
use super::list_folder;
use super::network;
use super::open_files;
use super::refused;
use super::wasi_http;
use crate::engine::HandlerKind;
use crate::engine::call::state::HostState;
use crate::engine::clock::sleep;
use crate::engine::direct;

/// All functions that handlers may import.
pub(in crate::engine) struct Linkers {
    general: Linker<HostState>,
    /// Commands have environment variables: those of their requests.
    commands: Linker<HostState>,
    /// A response of `wasi:http` may have no body.
    wasi_http: Linker<HostState>,
    /// For applications that are called directly.
    direct: wasmtime::Linker<HostState>,
}

impl Linkers {
    pub(in crate::engine) fn new(engine: &wasmtime::Engine) -> wasmtime::Result<Self> {
        let mut general = Linker::new(engine);
        gateway::add_to_linker::<_, HasSelf<HostState>>(&mut general, |state| state)?;
        wasmtime_wasi::p2::add_to_linker_async(&mut general)?;
        sleep::add_to_linker(&mut general)?;
        network::add_sockets_to_linker(&mut general)?;
        network::add_http_to_linker(&mut general)?;
        key_value::add_to_linker(&mut general)?;
        open_files::add_to_linker(&mut general)?;
        list_folder::add_to_linker(&mut general)?;
        let mut commands = general.clone();
        command::add_files_to_linker(&mut commands)?;
        refused::add_files_and_variables_to_linker(&mut general)?;
        let mut http = general.clone();
        wasi_http::add_body_to_linker(&mut http)?;
        let mut direct = wasmtime::Linker::new(engine);
        direct::add_to_linker(&mut direct)?;
        Ok(Self {
            general,
            commands,
            wasi_http: http,
            direct,
        })
    }

    /// Returns the imports for an application that is called directly.
    pub(in crate::engine) fn direct(&self) -> &wasmtime::Linker<HostState> {
        &self.direct
    }

    /// Returns the imports for a handler of this kind.
    pub(in crate::engine) fn for_kind(&self, kind: HandlerKind) -> &Linker<HostState> {
        match kind {
            HandlerKind::WasiHttp => &self.wasi_http,
            HandlerKind::Gateway => &self.general,
            HandlerKind::Command => &self.commands,
        }
    }
}
