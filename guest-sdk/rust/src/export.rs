//! The export of the component: the contract's application, which calls the handler.

#![allow(missing_docs, unreachable_pub)] // For the expansion of `__export!` alone.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{self, PanicHookInfo};

use crate::backend;
use crate::bindings::exports::wasgi::gateway::application as exported;
use crate::bindings::wasgi::gateway::gateway;
use crate::body::{self, Body, Content};
use crate::environ::Environ;
use crate::error::{Error, Exception, Result};
use crate::start_response::StartResponse;

/// The handler that `#[handler]` marks.
pub trait Application: 'static {
    fn call(environ: Environ, start_response: StartResponse) -> Result<Body>;
}

/// Implements the contract's interface for `A`.
pub struct Exported<A>(PhantomData<A>);

impl<A: Application> exported::Guest for Exported<A> {
    type Blocks = Blocks;

    fn call(
        environ: gateway::Environ,
        start_response: gateway::StartResponse,
    ) -> Result<exported::Body, gateway::Exception> {
        panic::set_hook(Box::new(report));
        let environ = Environ::new(backend::Environ(environ));
        #[cfg(feature = "stdio")]
        crate::stdio::attach(&environ);
        let start_response = StartResponse::new(backend::StartResponse(start_response));
        match A::call(environ, start_response)
            .map_err(|error| raised(&error))?
            .content
        {
            Content::Whole(block) => Ok(exported::Body::Block(block.into_owned())),
            Content::Blocks(blocks) => Ok(exported::Body::Blocks(exported::Blocks::new(Blocks(
                RefCell::new(blocks),
            )))),
        }
    }
}

/// A body that is being sent. The server ends each call before the next, so the cell is never
/// borrowed twice.
pub struct Blocks(RefCell<Box<dyn body::Blocks>>);

impl exported::GuestBlocks for Blocks {
    fn next(&self) -> Result<Option<Vec<u8>>, gateway::Exception> {
        self.0.borrow_mut().next().map_err(|error| raised(&error))
    }

    fn close(&self) -> Result<(), gateway::Exception> {
        self.0.borrow_mut().close().map_err(|error| raised(&error))
    }
}

fn raised(error: &Error) -> gateway::Exception {
    error.exception().into()
}

/// Tells the server the message and the place of a panic, before the trap that follows, which has
/// neither.
fn report(info: &PanicHookInfo<'_>) {
    let exception = Exception {
        kind: "panic".to_owned(),
        message: info
            .payload_as_str()
            .unwrap_or("a value that is not text")
            .to_owned(),
        traceback: info.location().map(ToString::to_string).unwrap_or_default(),
    };
    gateway::panicked(&exception.into());
}
