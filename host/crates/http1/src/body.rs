//! The body of a request: how it is framed, and what reading it comes to.

use super::error::BodyError;

/// How a request's body is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// There is none.
    None,
    /// This many bytes. May be 0: `Content-Length: 0` was sent.
    Length(u64),
    /// Chunks, to be decoded.
    Chunked,
}

/// What one read of a body came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum BodyProgress {
    /// Nothing has arrived that could be read: feed more bytes first.
    Incomplete,
    /// At least one byte was appended.
    Data,
    /// The body is over. Nothing was appended, and nothing ever will be.
    End,
    /// The rest of the body can't be had.
    Failed(BodyError),
}

/// What came of throwing a body away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Discard {
    /// More has to arrive.
    Incomplete,
    /// The body is over; the next request follows it.
    Done,
    /// More is outstanding than `Limits::drain_bytes`, or the client waits for a `100 Continue`
    /// before it sends any: not worth it. The connection will close after the answer.
    TooMuch,
    /// The body is broken. The connection will close after the answer.
    Failed(BodyError),
}
