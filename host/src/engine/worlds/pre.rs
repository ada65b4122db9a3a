//! A program that is linked and ready to be instantiated.

use wasmtime::component::InstancePre;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use super::gateway::application::ApplicationPre;
use super::gateway::bindings::HandlerPre;
use super::kind::HandlerKind;
use crate::engine::call::state::HostState;

/// A linked program of its kind, ready to be instantiated.
#[derive(Clone)]
pub(in crate::engine) enum Pre {
    Application(ApplicationPre),
    WasiHttp(ProxyPre<HostState>),
    Command(CommandPre<HostState>),
}

impl Pre {
    /// Prepares a linked component of a kind.
    ///
    /// # Errors
    ///
    /// Fails if an export has another type than the kind's world says.
    pub(in crate::engine) fn new(
        kind: HandlerKind,
        pre: InstancePre<HostState>,
    ) -> wasmtime::Result<Self> {
        Ok(match kind {
            HandlerKind::Gateway => {
                Self::Application(ApplicationPre::Component(HandlerPre::new(pre)?))
            }
            HandlerKind::WasiHttp => Self::WasiHttp(ProxyPre::new(pre)?),
            HandlerKind::Command => Self::Command(CommandPre::new(pre)?),
        })
    }

    /// Returns whether it is called without a component around it.
    pub(in crate::engine) fn is_direct(&self) -> bool {
        matches!(self, Self::Application(ApplicationPre::Direct(_)))
    }

    pub(in crate::engine) fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::Application(pre) => pre.engine(),
            Self::WasiHttp(pre) => pre.engine(),
            Self::Command(pre) => pre.engine(),
        }
    }
}
