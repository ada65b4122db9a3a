//! An instance of an application, as `call` has it answer: a component's, or one that is called
//! directly.

use wasmtime::component::{Resource, ResourceAny};
use wasmtime::{Result, Store, Trap};

use super::bindings::exports::wasgi::gateway::application::Body;
use super::bindings::wasgi::gateway::gateway::Exception;
use super::bindings::{Handler, HandlerPre};
use super::direct;
use super::state::State;

/// An application, linked and ready to instantiate.
#[derive(Clone)]
pub(super) enum ApplicationPre {
    Component(HandlerPre<State>),
    Direct(direct::Pre),
}

/// An instance of an application.
#[allow(
    clippy::large_enum_variant,
    reason = "a request has one, and most have the large one: a box would be an allocation"
)]
pub(super) enum Application {
    Component(Handler),
    Direct(direct::Instance),
}

/// What an application has returned.
pub(super) enum Answer<B> {
    /// The whole body.
    Block(Vec<u8>),
    /// What gives it, block by block.
    Blocks(B),
}

/// A body's blocks, to whoever has them.
#[derive(Clone, Copy)]
pub(super) enum Blocks {
    Component(ResourceAny),
    Direct(u32),
}

impl ApplicationPre {
    pub(super) fn engine(&self) -> &wasmtime::Engine {
        match self {
            Self::Component(pre) => pre.engine(),
            Self::Direct(pre) => pre.engine(),
        }
    }

    pub(super) async fn instantiate(&self, store: &mut Store<State>) -> Result<Application> {
        Ok(match self {
            Self::Component(pre) => Application::Component(pre.instantiate_async(store).await?),
            Self::Direct(pre) => Application::Direct(pre.instantiate(store).await?),
        })
    }
}

impl<B> Answer<B> {
    fn map<C>(self, blocks: impl FnOnce(B) -> C) -> Answer<C> {
        match self {
            Self::Block(block) => Answer::Block(block),
            Self::Blocks(given) => Answer::Blocks(blocks(given)),
        }
    }
}

impl Application {
    /// `application(environ, start_response)`, for the request that the store holds.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or where there was one before.
    pub(super) async fn call(
        &self,
        store: &mut Store<State>,
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

    /// The next block, or none.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or where there was one before.
    pub(super) async fn next(
        &self,
        store: &mut Store<State>,
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

    /// The end of the blocks.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or where there was one before.
    pub(super) async fn close(
        &self,
        store: &mut Store<State>,
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

    /// Gives the blocks back to the application.
    ///
    /// # Errors
    ///
    /// Fails with a trap, or where there was one before.
    pub(super) async fn destroy(&self, store: &mut Store<State>, blocks: Blocks) -> Result<()> {
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

/// Sees that an instance may be called: not after a trap, be it one of memory that was refused, or
/// of a value that could not be read.
fn enter(store: &Store<State>) -> Result<()> {
    match store.data().has_trapped {
        true => Err(Trap::CannotEnterComponent.into()),
        false => Ok(()),
    }
}

/// Remembers a trap.
fn leave<T>(store: &mut Store<State>, result: Result<T>) -> Result<T> {
    store.data_mut().has_trapped |= result.is_err();
    result
}

fn strangers() -> wasmtime::Error {
    wasmtime::format_err!("a body's blocks are of another instance")
}
