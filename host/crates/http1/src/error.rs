//! What can go wrong on a connection, and why it ends. Everything here is the peer's doing, or the
//! answer's; the core itself has no errors.
//!
//! A [`Rejection`] and a [`BodyError`] are the peer's fault and carry the status to answer with. A
//! [`CloseReason`] is why no further request will be read.

use core::fmt;

/// A request that can't be taken. Answer with its status, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status to answer with.
    pub status: u16,
    /// What is wrong with the request: one clause, for the answer's body and the log.
    pub why: &'static str,
}

impl Rejection {
    pub(super) const fn new(status: u16, why: &'static str) -> Self {
        Self { status, why }
    }

    /// 400: the request is malformed.
    pub(super) const fn bad(why: &'static str) -> Self {
        Self::new(400, why)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.why)
    }
}

/// Why the rest of a request's body can't be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The chunked coding is broken; says where.
    Malformed(&'static str),
    /// The body is longer than `Limits::body_bytes`.
    TooLarge,
    /// The chunk extensions are longer than their limits.
    ExtensionsTooLarge,
    /// The trailer section is over one of its limits.
    TrailersTooLarge,
    /// The peer ended its side of the connection inside the body.
    CutShort,
    /// The peer kept us waiting for longer than `Limits::body_patience`.
    TooSlow,
}

impl BodyError {
    /// The status to answer with, if no answer has been started.
    pub fn status(self) -> u16 {
        match self {
            // RFC 9112 section 7.1.1 leaves open which 4xx too long an extension gets. It is no
            // part of the content, so not 413.
            Self::Malformed(_) | Self::CutShort | Self::ExtensionsTooLarge => 400,
            Self::TooLarge => 413,
            Self::TrailersTooLarge => 431,
            Self::TooSlow => 408,
        }
    }

    /// What is wrong with the body: one clause, for the answer's body and the log.
    pub fn why(self) -> &'static str {
        match self {
            Self::Malformed(why) => why,
            Self::TooLarge => "the body is too large",
            Self::ExtensionsTooLarge => "the chunk extensions are too large",
            Self::TrailersTooLarge => "the trailer section is too large",
            Self::CutShort => "the body ends before its length",
            Self::TooSlow => "the body arrives too slowly",
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status(), self.why())
    }
}

impl std::error::Error for BodyError {}

/// Why a connection reads no further request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer ended its side between two requests: how most connections end.
    PeerFinished,
    /// The request said `Connection: close`, or is HTTP/1.0 and didn't ask for more.
    PeerAsked,
    /// There are too many connections: it is not to bring a request at all.
    Refused,
    /// No request came within `Limits::idle_timeout`.
    Idle,
    /// `Limits::requests_per_connection_count` is reached.
    RequestLimit,
    /// The server is stopping ([`Connection::stop`](super::Connection::stop)).
    Stopping,
    /// A request could not be taken, so where the next one would start is unknown.
    Rejected(Rejection),
    /// The request's body is broken, so where the next request would start is unknown.
    BodyFailed(BodyError),
    /// More of the request's body is outstanding than `Limits::drain_bytes`.
    BodyUnread,
    /// The request waits for a `100 Continue` that was not sent: whether its body comes is unknown.
    ContinueUnsent,
    /// The end of the connection is the end of the answer (HTTP/1.0, length unknown).
    EndsAnswer,
    /// The answer came out shorter than its Content-Length: the peer must notice.
    AnswerShort,
    /// The answer was given up before its end: the peer must notice.
    AnswerUnfinished,
}

impl CloseReason {
    /// Whether the peer may still be sending. Closing at once would then reset the connection, and
    /// could take the answer with it (RFC 9112 section 9.6): end our side, and read on for a while.
    pub fn lingers(self) -> bool {
        match self {
            Self::Rejected(_) | Self::BodyUnread | Self::ContinueUnsent => true,
            Self::BodyFailed(error) => error != BodyError::CutShort,
            Self::PeerAsked
            | Self::Refused
            | Self::RequestLimit
            | Self::Stopping
            | Self::EndsAnswer => true,
            Self::PeerFinished | Self::Idle | Self::AnswerShort | Self::AnswerUnfinished => false,
        }
    }

    /// Whether the peer may be in the middle of a request's body, at a rate that is worth waiting
    /// for. One that was too slow was waited for.
    pub fn leaves_body(self) -> bool {
        match self {
            Self::Rejected(rejection) => rejection.status != 408,
            Self::BodyFailed(error) => error != BodyError::TooSlow,
            Self::BodyUnread | Self::ContinueUnsent => true,
            _ => false,
        }
    }

    /// Whether the answer before the close is incomplete, so that its end has to look like an
    /// accident (a reset) to the peer.
    pub fn cuts_answer(self) -> bool {
        matches!(self, Self::AnswerShort | Self::AnswerUnfinished)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerFinished => f.write_str("the client is done"),
            Self::PeerAsked => f.write_str("the client asked for it"),
            Self::Refused => f.write_str("there are too many connections"),
            Self::Idle => f.write_str("no request came in time"),
            Self::RequestLimit => f.write_str("it had its number of requests"),
            Self::Stopping => f.write_str("the server is stopping"),
            Self::Rejected(rejection) => write!(f, "request rejected: {rejection}"),
            Self::BodyFailed(error) => write!(f, "request body failed: {error}"),
            Self::BodyUnread => f.write_str("too much of the request body was left unread"),
            Self::ContinueUnsent => f.write_str("the client was not told to send its body"),
            Self::EndsAnswer => f.write_str("the end of the connection ends the answer"),
            Self::AnswerShort => f.write_str("the answer is shorter than its Content-Length"),
            Self::AnswerUnfinished => f.write_str("the answer was given up"),
        }
    }
}
