//! An instance of an application, as `call` uses it: in a component, or called directly.

use wasmtime::component::{Resource, ResourceAny};
use wasmtime::{Result, Store, Trap};

use super::answer::Answer;
use super::bindings::exports::wasgi::gateway::application::Body;
use super::bindings::wasgi::gateway::gateway::Exception;
use super::bindings::{Handler, HandlerPre};
use crate::engine::call::state::HostState;
use crate::engine::direct;

/// A linked application, ready to be instantiated.
#[derive(Clone)]
pub(in crate::engine) enum ApplicationPre {
    Component(HandlerPre<HostState>),
    Direct(direct::Pre),
}

/// An instance of an application.
#[allow(
    clippy::large_enum_variant,
    reason = "a request has one, and most have the large one: a box would be an allocation"
)]
pub(in crate::engine) enum Application {
    Component(Handler),
    Direct(direct::Instance),
}

/// The handle of a body's blocks.
#[derive(Clone, Copy)]
pub(in crate::engine) enum Blocks {
    Component(ResourceAny),
    Direct(u32),
}

impl ApplicationPre {
    pub(in crate::engine) fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::Component(pre) => pre.engine(),
            Self::Direct(pre) => pre.engine(),
        }
    }

    pub(in crate::engine) async fn instantiate(
        &self,
        store: &mut Store<HostState>,
    ) -> Result<Application> {
        Ok(match self {
            Self::Component(pre) => Application::Component(pre.instantiate_async(store).await?),
            Self::Direct(pre) => Application::Direct(pre.instantiate(store).await?),
        })
    }
}

impl Application {
    /// Calls `application(environ, start_response)` for the request in the store.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or after an earlier trap.
    pub(in crate::engine) async fn call(
        &self,
        store: &mut Store<HostState>,
    ) -> Result<Result<Answer<Blocks>, Exception>> {
        enter(store)?;
        let result = match self {
            Self::Component(handler) => {
                let request = store.data().request;
                let environ = Resource::new_own(request);
                let start_response = Resource::new_own(request);
                let application = handler.wasgi_gateway_application();
                let body = application.call_call(&mut *store, environ, start_response);
                let body = body.await;
                body.map(|body| {
                    body.map(|body| match body {
                        Body::Block(block) => Answer::Block(block),
                        Body::Blocks(blocks) => Answer::Blocks(Blocks::Component(blocks)),
                    })
                })
            }
            Self::Direct(instance) => {
                let answer = instance.call(store).await;
                answer.map(|answer| answer.map(|answer| answer.map(Blocks::Direct)))
            }
        };
        leave(store, result)
    }

    /// Returns the next block, or `None` at the end.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or after an earlier trap.
    pub(in crate::engine) async fn next(
        &self,
        store: &mut Store<HostState>,
        blocks: Blocks,
    ) -> Result<Result<Option<Vec<u8>>, Exception>> {
        enter(store)?;
        let result = match (self, blocks) {
            (Self::Component(handler), Blocks::Component(blocks)) => {
                let application = handler.wasgi_gateway_application();
                application.blocks().call_next(&mut *store, blocks).await
            }
            (Self::Direct(instance), Blocks::Direct(blocks)) => instance.next(store, blocks).await,
            _ => Err(strangers()),
        };
        leave(store, result)
    }

    /// Closes the blocks.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or after an earlier trap.
    pub(in crate::engine) async fn close(
        &self,
        store: &mut Store<HostState>,
        blocks: Blocks,
    ) -> Result<Result<(), Exception>> {
        enter(store)?;
        let result = match (self, blocks) {
            (Self::Component(handler), Blocks::Component(blocks)) => {
                let application = handler.wasgi_gateway_application();
                application.blocks().call_close(&mut *store, blocks).await
            }
            (Self::Direct(instance), Blocks::Direct(blocks)) => instance.close(store, blocks).await,
            _ => Err(strangers()),
        };
        leave(store, result)
    }

    /// Drops the application's blocks.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or after an earlier trap.
    pub(in crate::engine) async fn destroy(
        &self,
        store: &mut Store<HostState>,
        blocks: Blocks,
    ) -> Result<()> {
        enter(store)?;
        let result = match (self, blocks) {
            (Self::Component(_), Blocks::Component(blocks)) => {
                blocks.resource_drop_async(&mut *store).await
            }
            (Self::Direct(instance), Blocks::Direct(blocks)) => {
                instance.destroy(store, blocks).await
            }
            _ => Err(strangers()),
        };
        leave(store, result)
    }
}

/// Checks that an instance may be called: not after a trap, including traps for denied memory or an
/// invalid value.
fn enter(store: &Store<HostState>) -> Result<()> {
    match store.data().has_trapped {
        true => Err(Trap::CannotEnterComponent.into()),
        false => Ok(()),
    }
}

/// Records a trap.
fn leave<T>(store: &mut Store<HostState>, result: Result<T>) -> Result<T> {
    store.data_mut().has_trapped |= result.is_err();
    result
}

fn strangers() -> wasmtime::Error {
    wasmtime::format_err!("a body's blocks belong to another instance")
}
