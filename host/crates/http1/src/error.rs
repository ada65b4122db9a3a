//! Errors on a connection, and the reasons why it ends. The peer or the response causes all of
//! them; the core itself has no errors.
//!
//! A [`Rejection`] and a [`BodyError`] are the peer's fault and carry the response status. A
//! [`CloseReason`] says why no further request is read.

use core::fmt;

/// A rejected request. Respond with its status, then close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The status of the response.
    pub status: u16,
    /// What is wrong with the request: one clause, for the response body and the log.
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

/// Why the rest of a request body can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// The chunked coding is malformed; the text says where.
    Malformed(&'static str),
    /// The body is longer than `Limits::body_bytes`.
    TooLarge,
    /// The chunk extensions exceed one of their limits.
    ExtensionsTooLarge,
    /// The trailer section exceeds one of its limits.
    TrailersTooLarge,
    /// The peer ended its side of the connection before the end of the body.
    CutShort,
    /// The peer sent nothing for longer than `Limits::body_patience`.
    TooSlow,
}

impl BodyError {
    /// Returns the status to respond with if no response has started.
    pub fn status(self) -> u16 {
        match self {
            // RFC 9112 section 7.1.1 doesn't say which 4xx to send for an extension that is too
            // long. An extension is not part of the content, so not 413.
            Self::Malformed(_) | Self::CutShort | Self::ExtensionsTooLarge => 400,
            Self::TooLarge => 413,
            Self::TrailersTooLarge => 431,
            Self::TooSlow => 408,
        }
    }

    /// Returns what is wrong with the body: one clause, for the response body and the log.
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
    /// The peer ended its side between two requests: the usual end of a connection.
    PeerFinished,
    /// The request has `Connection: close`, or is HTTP/1.0 without `keep-alive`.
    PeerAsked,
    /// There are too many connections: this one may not send a request.
    Refused,
    /// No request arrived within `Limits::idle_timeout`.
    Idle,
    /// `Limits::requests_per_connection_count` is reached.
    RequestLimit,
    /// The server is stopping ([`Connection::stop`](super::Connection::stop)).
    Stopping,
    /// A request was rejected, so the start of the next one is unknown.
    Rejected(Rejection),
    /// The request body is malformed, so the start of the next request is unknown.
    BodyFailed(BodyError),
    /// The outstanding part of the request body exceeds `Limits::drain_bytes`.
    BodyUnread,
    /// The request waits for a `100 Continue` that was not sent, so the client may or may not send
    /// the body.
    ContinueUnsent,
    /// The end of the connection marks the end of the response (HTTP/1.0, length unknown).
    EndsAnswer,
    /// The response is shorter than its Content-Length: the peer must notice.
    AnswerShort,
    /// The response was abandoned before its end: the peer must notice.
    AnswerUnfinished,
}

impl CloseReason {
    /// Returns whether the peer may still be sending. Closing at once would then reset the
    /// connection and could discard the response (RFC 9112 section 9.6): end our side, and read for
    /// a while longer.
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

    /// Returns whether the peer may still be sending a request body, at a rate worth waiting for.
    /// False for a body that was too slow, which has already had its time.
    pub fn leaves_body(self) -> bool {
        match self {
            Self::Rejected(rejection) => rejection.status != 408,
            Self::BodyFailed(error) => error != BodyError::TooSlow,
            Self::BodyUnread | Self::ContinueUnsent => true,
            _ => false,
        }
    }

    /// Returns whether the response before the close is incomplete, so that the peer must see an
    /// abnormal end (a reset).
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
            Self::Idle => f.write_str("no request arrived in time"),
            Self::RequestLimit => f.write_str("the maximum number of requests was reached"),
            Self::Stopping => f.write_str("the server is stopping"),
            Self::Rejected(rejection) => write!(f, "request rejected: {rejection}"),
            Self::BodyFailed(error) => write!(f, "request body failed: {error}"),
            Self::BodyUnread => f.write_str("too much of the request body was left unread"),
            Self::ContinueUnsent => f.write_str("the client did not get 100 (Continue)"),
            Self::EndsAnswer => f.write_str("the end of the connection ends the response"),
            Self::AnswerShort => f.write_str("the response is shorter than its Content-Length"),
            Self::AnswerUnfinished => f.write_str("the response was abandoned"),
        }
    }
}
