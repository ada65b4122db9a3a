//! The events that a connection reports to the owner of its socket.

use std::sync::Arc;

use super::error::{CloseReason, Rejection};
use super::head::RequestHead;

/// The next event on a connection.
#[derive(Debug)]
pub enum Incoming {
    /// A request to answer.
    Request(Arc<RequestHead>),
    /// A rejected request. Send a response with its status, then close.
    Rejected(Rejection),
    /// No further request will follow. Send no response.
    Closed(CloseReason),
}

/// What to do after the last byte of a response is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Call `next_request`: the next request may have arrived already.
    NextRequest,
    /// Keep reading and calling `next_request`: the rest of this request's body comes first and is
    /// discarded.
    Drain,
    /// Close after everything is written.
    Close(CloseReason),
}

/// The effect of a deadline that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Expiry {
    /// Close without a response.
    Close(CloseReason),
    /// `next_request` returns a rejection (408).
    Request,
    /// `read_body` returns a failure (408).
    Body,
}
