//! The body of a request: its framing and the results of reading it.

use super::error::BodyError;

/// How a request's body is framed (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// The request has no body.
    None,
    /// The number of bytes. Can be 0 if the client sent `Content-Length: 0`.
    Length(u64),
    /// Encoded in chunks.
    Chunked,
}

/// The result of one read of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum BodyProgress {
    /// No data is available: feed more bytes first.
    Incomplete,
    /// Appended at least one byte.
    Data,
    /// The body has ended. Appended nothing; later reads append nothing either.
    End,
    /// The rest of the body can't be read.
    Failed(BodyError),
}

/// The result of discarding a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Discard {
    /// More bytes must arrive first.
    Incomplete,
    /// The body has ended; the next request follows it.
    Done,
    /// Not worth reading: more bytes are outstanding than `Limits::drain_bytes`, or the client
    /// waits for a `100 Continue` before it sends the body. The connection closes after the
    /// response.
    TooMuch,
    /// The body is malformed. The connection closes after the response.
    Failed(BodyError),
}
