//! The meeting point of a connection and a handler: WSGI's rules, apart from HTTP and from
//! WebAssembly.
//!
//! - [`Environ`] is the request as a handler sees it (rules E1 to E5).
//! - [`Response`] is what `start_response` has been told so far (R1 to R3, R6).
//! - [`Exchange`] carries body bytes between the two sides, with backpressure (I1 to I4, B1, B2).
//! - [`Trace`] is what a handler did, step by step, where somebody wants to know.
//! - [`Failure`] is why a handler gave no whole answer, and what its client is told.
//!
//! Rules are numbered in `docs/contract.md`.

mod environ;
mod exchange;
mod failure;
mod response;
mod trace;
#[cfg(test)]
pub(crate) mod wakes;

pub use environ::{Environ, Scheme};
pub use exchange::{Exchange, InputError, Output, Sent};
pub use failure::{Exception, Failure};
pub use response::{Head, Response, StartError};
pub use trace::{STEPS_COUNT, Step, Trace};
