//! A pool of instances, in which programs are linked.

use std::sync::Arc;

use anyhow::Context;
use wasmtime::component::{Component, InstancePre, Linker};

use crate::engine::call::state::HostState;
use crate::engine::compiled::Compiled;
use crate::engine::error::LoadError;
use crate::engine::limits::line;
use crate::engine::worlds::gateway::application::ApplicationPre;
use crate::engine::worlds::imports::Linkers;
use crate::engine::worlds::kind::HandlerKind;
use crate::engine::worlds::pre::Pre;
use crate::engine::worlds::unlinked;
use crate::engine::{direct, fuse};

/// A pool of instances, and their linked imports.
#[derive(Clone)]
pub(in crate::engine) struct InstancePool {
    pub(in crate::engine) engine: wasmtime::Engine,
    pub(in crate::engine) linkers: Arc<Linkers>,
}

impl InstancePool {
    pub(in crate::engine) fn new(engine: wasmtime::Engine) -> anyhow::Result<Self> {
        let linkers = Linkers::new(&engine)
            .map_err(anyhow::Error::from)
            .context("could not set up the host's functions")?;
        Ok(Self {
            engine,
            linkers: Arc::new(linkers),
        })
    }

    /// Prepares a program so that creating an instance takes as little work as possible.
    pub(in crate::engine) fn prepare(
        &self,
        compiled: &Compiled,
        kind: HandlerKind,
    ) -> Result<Pre, LoadError> {
        // Now, not at the first request, which may find the process without a descriptor.
        compiled
            .initialize_copy_on_write_image()
            .map_err(LoadError::unprepared)?;
        self.link(compiled, kind)
    }

    /// Links a program, and checks that it matches its kind.
    pub(in crate::engine) fn link(
        &self,
        compiled: &Compiled,
        kind: HandlerKind,
    ) -> Result<Pre, LoadError> {
        let linker = self.linkers.for_kind(kind);
        let linked = match compiled {
            Compiled::Component(component) => instantiate_pre(linker, component),
            Compiled::InParts(parts) => {
                let mut linker = linker.clone();
                let mut root = linker.root();
                root.module(fuse::CODE, &parts.code)
                    .and_then(|()| root.module(fuse::STATE, &parts.state))
                    .map_err(LoadError::unprepared)?;
                instantiate_pre(&linker, &parts.frame)
            }
            Compiled::Direct(module) => {
                let pre = self.linkers.direct().instantiate_pre(module);
                let pre = pre.and_then(direct::Pre::new);
                let pre = pre
                    .map(ApplicationPre::Direct)
                    .map_err(LoadError::unprepared)?;
                return Ok(Pre::Application(pre));
            }
        };
        let pre = linked.map_err(|error| error.explain(kind))?;
        Pre::new(kind, pre)
            .map_err(|error| LoadError::new(format!("violates the contract: {}", line(&error))))
    }
}

/// Why a component can't be linked.
struct Unlinked {
    /// The import that the linker doesn't have, if that is the reason.
    import: Option<String>,
    cause: wasmtime::Error,
}

fn instantiate_pre(
    linker: &Linker<HostState>,
    component: &Component,
) -> Result<InstancePre<HostState>, Unlinked> {
    linker.instantiate_pre(component).map_err(|cause| Unlinked {
        import: unlinked::first(linker, component),
        cause,
    })
}

impl Unlinked {
    /// Explains the error to users who don't know about linking.
    fn explain(&self, kind: HandlerKind) -> LoadError {
        let cause = line(&self.cause);
        let offer = match kind {
            HandlerKind::Gateway | HandlerKind::Command => {
                "wasgi:gateway@0.1.0 and WASI 0.2 without wasi:http"
            }
            HandlerKind::WasiHttp => "WASI 0.2, wasi:http included",
        };
        let text = match &self.import {
            Some(import) => format!(
                "needs {import}, which this server does not offer: a {kind} handler has {offer} \
                 ({cause})"
            ),
            None => format!("can't be linked: {cause}"),
        };
        LoadError::of_wasmtime(text, &self.cause)
    }
}
