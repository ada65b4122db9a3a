//! The signatures that a handler can have.

use std::error::Error as StdError;

use crate::body::{Body, IntoBody};
use crate::environ::Environ;
use crate::error::{Error, Result};
use crate::request::{self, Request};
use crate::response::{self, IntoResponse};
use crate::start_response::StartResponse;

/// A function that handles a request, with one of two signatures.
///
/// `Form` is [`Wsgi`] or [`Http`]; the compiler infers it from the function's arguments. A function
/// with another signature doesn't compile:
///
/// ```compile_fail,E0277
/// #[wasgi_sdk::handler]
/// fn number(request: wasgi_sdk::Request) -> u32 {
///     7
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "this function can't be a handler",
    label = "not a handler",
    note = "a handler is `fn(Environ, StartResponse) -> B` or `fn(Request) -> R`, where `B` is a body \
            (`IntoBody`) and `R` a response (`IntoResponse`), or a `Result` of one; the error is \
            `wasgi_sdk::Error` or a type that converts into `Box<dyn std::error::Error>`"
)]
pub trait Handler<Form> {
    /// Handles one request.
    ///
    /// # Errors
    /// Returns the error that the function returned.
    fn handle(&self, environ: Environ, start_response: StartResponse) -> Result<Body>;
}

/// The signature of WSGI: `fn(Environ, StartResponse)` that returns a body, or a `Result` of one.
#[derive(Debug)]
pub enum Wsgi {}

/// The signature with the `http` crate: `fn(Request)` that returns a response, or a `Result` of
/// one.
#[derive(Debug)]
pub enum Http {}

impl<F, R> Handler<Wsgi> for F
where
    F: Fn(Environ, StartResponse) -> R,
    R: BodyOrError,
{
    fn handle(&self, environ: Environ, start_response: StartResponse) -> Result<Body> {
        self(environ, start_response).body_or_error()
    }
}

impl<F, R> Handler<Http> for F
where
    F: Fn(Request) -> R,
    R: ResponseOrError,
{
    fn handle(&self, environ: Environ, start_response: StartResponse) -> Result<Body> {
        let response = self(request::from_environ(environ)?).response_or_error()?;
        response::send(response, &start_response)
    }
}

/// A return type of a WSGI handler: a body, or a `Result` of one.
pub trait BodyOrError {
    /// Returns the body.
    ///
    /// # Errors
    /// Returns the error of the `Result`, converted to [`Error`].
    fn body_or_error(self) -> Result<Body>;
}

impl<T: IntoBody> BodyOrError for T {
    fn body_or_error(self) -> Result<Body> {
        Ok(self.into_body())
    }
}

impl<T: IntoBody, E: Into<Box<dyn StdError>>> BodyOrError for Result<T, E> {
    fn body_or_error(self) -> Result<Body> {
        self.map(IntoBody::into_body).map_err(Error::returned)
    }
}

/// A return type of a handler with the `http` crate: a response, or a `Result` of one.
pub trait ResponseOrError {
    /// Returns the response.
    ///
    /// # Errors
    /// Returns the error of the `Result`, converted to [`Error`].
    fn response_or_error(self) -> Result<http::Response<Body>>;
}

impl<T: IntoResponse> ResponseOrError for T {
    fn response_or_error(self) -> Result<http::Response<Body>> {
        Ok(self.into_response())
    }
}

impl<T: IntoResponse, E: Into<Box<dyn StdError>>> ResponseOrError for Result<T, E> {
    fn response_or_error(self) -> Result<http::Response<Body>> {
        self.map(IntoResponse::into_response)
            .map_err(Error::returned)
    }
}
