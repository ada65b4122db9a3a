//! Handlers for wasgi, the WebAssembly Server Gateway Interface, in Rust.
//!
//! A handler is a function with one attribute:
//!
//! ```
//! use wasgi_sdk::{Request, RequestExt};
//!
//! #[wasgi_sdk::handler]
//! fn greet(request: Request) -> String {
//!     format!("Hello, {}!\n", request.query().get("name").unwrap_or("world"))
//! }
//! ```
//!
//! Built as a `cdylib` for `wasm32-wasip2`, it is a component to drop into a server's `handlers/`.
//! Each request gets an instance of its own: nothing is left of one when the next comes.
//!
//! # Two forms
//!
//! The comfortable one is above: a function of a [`Request`] of the [`http`] crate, which returns
//! anything that is a response ([`IntoResponse`]), or a `Result` of that.
//!
//! The other is WSGI itself, and the fastest: a function of an [`Environ`] and a [`StartResponse`],
//! which returns a body ([`IntoBody`]), or a `Result` of one.
//!
//! ```
//! use wasgi_sdk::{Environ, Result, StartResponse};
//!
//! #[wasgi_sdk::handler]
//! fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
//!     start_response.call("200 OK", &[("Content-Type", "text/plain")])?;
//!     Ok(format!("You asked for {}\n", environ.path_info()))
//! }
//! ```
//!
//! # Errors
//!
//! An error that a handler returns is an exception: the server logs it with its kind, message,
//! place and causes, and answers with status 500. [`Error`] takes any error through `?` and notes
//! the place; other error types will do as well. A panic is told with its message and place too,
//! and ends the instance.
//!
//! # Bodies
//!
//! A [`Body`] is bytes or text, an iterator of blocks ([`Body::blocks`]), a reader
//! ([`Body::from_reader`]) or a [`Blocks`] of one's own. The request's body is an [`Input`], which
//! is `Read` and `BufRead`, and can be returned as the response's.
//!
//! # Tests
//!
//! Natively the same types work in memory, so a handler is tested as the plain function it is: see
//! [`testing`].

mod backend;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
mod body;
#[cfg(not(target_arch = "wasm32"))]
mod builder;
mod environ;
mod error;
mod errors;
#[cfg(target_arch = "wasm32")]
mod export;
mod handler;
mod html;
mod input;
mod params;
mod percent;
mod request;
mod response;
mod start_response;
#[cfg(all(target_arch = "wasm32", feature = "stdio"))]
mod stdio;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use http;
pub use wasgi_sdk_macros::handler;

pub use crate::body::{Blocks, Body, IntoBlock, IntoBody};
#[cfg(not(target_arch = "wasm32"))]
pub use crate::builder::EnvironBuilder;
pub use crate::environ::Environ;
pub use crate::error::{Error, Exception, Result};
pub use crate::errors::Errors;
pub use crate::handler::{BodyOrError, Handler, Http, ResponseOrError, Wsgi};
pub use crate::html::{Html, escape};
pub use crate::input::{Input, InputError};
pub use crate::params::{FORM_MAX_BYTES, Params};
pub use crate::request::{Request, RequestExt};
pub use crate::response::{IntoResponse, Response};
pub use crate::start_response::{StartError, StartResponse, WriteError, Writer};

/// Has the README's code tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// For the expansion of `#[handler]` alone.
#[doc(hidden)]
pub mod __private {
    pub use crate::handler::Handler;

    #[cfg(target_arch = "wasm32")]
    pub use crate::bindings;
    #[cfg(target_arch = "wasm32")]
    pub use crate::export::{Application, Exported};
}

/// Exports the function as the component's application.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($handler:ident) => {
        $crate::__once! {}

        const _: () = {
            struct Handler;

            impl $crate::__private::Application for Handler {
                fn call(
                    environ: $crate::Environ,
                    start_response: $crate::StartResponse,
                ) -> $crate::Result<$crate::Body> {
                    $crate::__private::Handler::handle(&$handler, environ, start_response)
                }
            }

            type Exported = $crate::__private::Exported<Handler>;

            $crate::__private::bindings::export!(
                Exported with_types_in $crate::__private::bindings
            );
        };
    };
}

/// Natively there is nothing to export: only says so if the function can't be a handler.
#[cfg(not(target_arch = "wasm32"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($handler:ident) => {
        $crate::__once! {}

        const _: fn($crate::Environ, $crate::StartResponse) = |environ, start_response| {
            let _ = $crate::__private::Handler::handle(&$handler, environ, start_response);
        };
    };
}

/// Has it tested that one handler compiles and that two don't.
///
/// ```
/// #[wasgi_sdk::handler]
/// fn one(_: wasgi_sdk::Request) -> &'static str { "one" }
/// fn main() {}
/// ```
///
/// ```compile_fail,E0428
/// #[wasgi_sdk::handler]
/// fn one(_: wasgi_sdk::Request) -> &'static str { "one" }
/// mod deeper {
///     #[wasgi_sdk::handler]
///     fn two(_: wasgi_sdk::Request) -> &'static str { "two" }
/// }
/// fn main() {}
/// ```
#[cfg(doctest)]
struct OneHandler;

/// Names something at the top of the handler's package. A second handler names it again, which the
/// compiler refuses, with both places, before a linker would complain of a symbol that nobody has
/// written.
#[doc(hidden)]
#[macro_export]
macro_rules! __once {
    () => {
        #[doc(hidden)]
        #[macro_export]
        macro_rules! only_one_wasgi_sdk_handler_per_package {
            () => {};
        }
    };
}
