//! The resource limits of requests: for all handlers ([`Budget`]), for individual ones
//! ([`Handlers`]), and for one of them, as the two combine ([`Policy`]).
//!
//! `config` reads the values; the server, the engine and `drive` enforce them.

mod budget;
mod handlers;

pub use budget::Budget;
pub use handlers::{Handler, Handlers};

/// The resource limits of a request to a handler, and the reuse of its instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The resource limits.
    pub budget: Budget,
    /// The maximum number of requests that an instance serves; 1 for a new instance per request.
    pub reuse: u32,
}
