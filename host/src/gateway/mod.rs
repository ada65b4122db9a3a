//! The connection between the server and a handler: WSGI's rules, independent of HTTP and of
//! WebAssembly.
//!
//! - [`Environ`] is the request as a handler sees it (rules E1 to E5).
//! - [`Response`] is the state of the response's head, set by `start_response` (R1 to R3, R6).
//! - [`Exchange`] transfers body bytes between the two sides, with backpressure (I1 to I4, B1, B2).
//! - [`Origin`] is the client of a request, and the address that it used.
//! - [`RequestId`] names a request in logs and responses.
//! - [`Trace`] records the steps of a handler, if requested.
//! - [`Failure`] is the reason why a handler gave no complete response, with the status for its
//!   client.
//!
//! Rules are numbered in `docs/contract.md`.

mod environ;
mod exchange;
mod failure;
mod origin;
mod request_id;
mod response;
mod trace;
#[cfg(test)]
pub(crate) mod wakes;

pub use environ::{Environ, Scheme};
pub use exchange::{Exchange, InputError, Output, Sent};
pub use failure::{Exception, Failure};
pub use origin::Origin;
pub use request_id::{REQUEST_ID_FIELD, RequestId};
pub use response::{Head, Response, StartError};
pub use trace::{STEPS_COUNT, Step, Trace};
