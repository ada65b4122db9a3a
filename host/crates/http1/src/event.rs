//! What a connection tells whoever owns its socket.

use std::sync::Arc;

use super::error::{CloseReason, Rejection};
use super::head::RequestHead;

/// What comes next on a connection.
#[derive(Debug)]
pub enum Incoming {
    /// A request to answer.
    Request(Arc<RequestHead>),
    /// A request that can't be taken. Answer with its status as with a request's, then close.
    Rejected(Rejection),
    /// No further request will come. Nothing is to be answered.
    Closed(CloseReason),
}

/// What to do after an answer's last byte was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Ask for the next request: it may be here already.
    NextRequest,
    /// Go on reading, and asking for the next request: the rest of this one's body is in between,
    /// and is thrown away.
    Drain,
    /// Close, once everything is written.
    Close(CloseReason),
}

/// What a deadline that passed has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Expiry {
    /// Close without a word.
    Close(CloseReason),
    /// `next_request` has a rejection (408).
    Request,
    /// `read_body` has a failure (408).
    Body,
}
