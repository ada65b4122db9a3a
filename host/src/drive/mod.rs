//! Sends requests to a handler without a socket, for `wasgi check` and `wasgi run`.
//!
//! A request takes the same path as in the server, through the protocol core, the gateway and the
//! engine, so a handler cannot tell the difference. Sockets, reactors, precedence between routes
//! and the access log are the server's and not included.
//!
//! - [`Request`] is the client's request, and the point where the client disconnects.
//! - [`Mount`] is the route of a handler, derived from its file's name.
//! - [`Client`] receives the response.
//! - [`Driver`] runs several requests at once on one thread.

mod client;
mod driver;
mod mount;
mod request;
mod visit;

pub(crate) use client::{Client, Stays};
pub(crate) use driver::Driver;
pub(crate) use mount::Mount;
pub(crate) use request::{BadRequest, Framing, Request, Upload};
pub(crate) use visit::Ended;
