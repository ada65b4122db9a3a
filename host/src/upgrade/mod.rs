//! Replaces a running server by a new process, without a refused connection.
//!
//! The server starts its program again, with a channel as its standard input, and sends it what
//! can't be made anew: the listening sockets and the keys of session tickets. The successor loads
//! everything, begins to accept connections beside its predecessor, and says so. Only then does the
//! predecessor accept no more connections. Until then, each failure of the successor leaves the
//! predecessor as it was.
//!
//! - `program`: what to start.
//! - `message`: the messages.
//! - [`Attempt`], [`Successor`]: the side of the predecessor.
//! - [`Predecessor`]: the side of the successor.

mod attempt;
mod message;
mod predecessor;
mod program;

pub(crate) use attempt::{Attempt, OnEnd, Successor};
pub(crate) use message::Offer;
pub(crate) use predecessor::Predecessor;
pub(crate) use program::{Program, flag, without_internal_flags};
