//! Requests to a handler without a socket: what `wasgi check` and `wasgi run` have in common.
//!
//! A request goes the way that it takes in the server, through the protocol core, the gateway and
//! the engine, so a handler can't tell the difference. What is not here is the server's own:
//! sockets, reactors, routes beside each other, the access log.
//!
//! - [`Request`] is what a client sends, and when it stops.
//! - [`Mount`] is where a handler answers, from its file's name.
//! - [`Client`] takes the answer.
//! - [`Driver`] has a thread's handlers answer, several requests at once.

mod client;
mod driver;
mod mount;
mod request;
mod visit;

pub use client::{Client, Stays};
pub use driver::Driver;
pub use mount::Mount;
pub use request::{BadRequest, Framing, Request, Upload};
pub use visit::Ended;
