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
//! Built as a `cdylib` for `wasm32-wasip2`, it is a component for a server's `handlers/` folder.
//! Each request gets a new instance, which keeps no state from earlier ones.
//!
//! # Two signatures
//!
//! The convenient signature is shown above: a function of a [`Request`] of the [`http`] crate,
//! which returns any type that converts to a response ([`IntoResponse`]), or a `Result` of one.
//!
//! The other is WSGI's, and the faster: a function of an [`Environ`] and a [`StartResponse`], which
//! returns a body ([`IntoBody`]), or a `Result` of one.
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
//! place and causes, and responds with status 500. [`Error`] converts any error with `?` and
//! records the place; other error types work too. A panic is also logged with its message and
//! place, and ends the instance.
//!
//! # Bodies
//!
//! A [`Body`] consists of bytes or text, an iterator of blocks ([`Body::blocks`]), a reader
//! ([`Body::from_reader`]) or your own [`Blocks`]. The request's body is an [`Input`], which
//! implements `Read` and `BufRead`, and can be returned as the response's.
//!
//! # Tests
//!
//! In native builds the same types work in memory, so a handler is tested as a normal function: see
//! [`testing`].

mod backend;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
mod body;
#[cfg(not(target_arch = "wasm32"))]
mod builder;
#[cfg(feature = "client")]
pub mod client;
mod environ;
mod error;
mod errors;
#[cfg(target_arch = "wasm32")]
mod export;
mod handler;
mod html;
mod input;
pub mod kv;
mod params;
mod percent;
mod refusal;
mod request;
mod response;
mod start_response;
#[cfg(all(target_arch = "wasm32", feature = "stdio"))]
mod stdio;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod variable;

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
pub use crate::input::Input;
pub use crate::params::{FORM_MAX_BYTES, Params};
pub use crate::refusal::{InputError, StartError, WriteError};
pub use crate::request::{Request, RequestExt};
pub use crate::response::{IntoResponse, Response};
pub use crate::start_response::{StartResponse, Writer};
pub use crate::variable::variable;

/// Tests the code in the README, some of which needs the feature `client`.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Used only by the expansion of `#[handler]`.
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

/// Checks that the function can be a handler. A native build has no export.
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

/// Tests that a package with one handler compiles and that one with two doesn't.
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

/// Defines an item at the root of the handler's package. With a second handler it is defined twice,
/// so the compiler reports both places, before the linker would report a duplicate symbol that the
/// author doesn't know.
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
