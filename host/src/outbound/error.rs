//! Why a request to another host has no response.

use std::fmt;
use std::io;

use crate::descriptor_limits::DescriptorLimits;
use crate::grants::Prohibited;

/// Why a request to another host has no response, or no complete body.
#[derive(Debug)]
pub(crate) enum Error {
    /// The name could not be resolved.
    Lookup(LookupError),
    /// No address of the host may be connected to. Has the first one.
    Prohibited(Prohibited),
    /// No connection could be made.
    Connect(io::Error),
    /// There was no connection in time.
    ConnectTimeout,
    /// The handler, or all handlers together, have too many connections, or too many descriptors.
    TooManyConnections(Limit),
    /// The TLS handshake failed: the certificate was not accepted.
    Certificate(String),
    /// The TLS handshake failed for another reason.
    Tls(String),
    /// The head of the response is too large.
    HeadTooLarge,
    /// The body of the response is larger than the limit, in bytes.
    BodyTooLarge(u64),
    /// There was no head of a response in time.
    FirstByteTimeout,
    /// There was no further block of the body in time.
    BetweenBytesTimeout,
    /// The connection was closed before the response was complete.
    Incomplete,
    /// The body of the request ended early.
    RequestBody,
    /// The peer doesn't speak HTTP.
    Protocol,
    /// The server has no thread or no descriptor left.
    Unavailable(String),
}

/// Why there is no permit for a further connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The handler, or all handlers together, have too many connections.
    Connections,
    /// The handler, or all handlers together, have too many descriptors.
    Descriptors(DescriptorLimits),
}

/// A name without addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookupError {
    /// There is no such name.
    NoSuchName,
    /// The name servers could not be asked.
    Failed,
}

impl Error {
    /// Returns the kind of the error, one of few words: the `error.type` of a span.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Lookup(_) => "lookup",
            Self::Prohibited(_) => "prohibited",
            Self::Connect(_) => "connect",
            Self::ConnectTimeout | Self::FirstByteTimeout | Self::BetweenBytesTimeout => "timeout",
            Self::TooManyConnections(_) => "too_many_connections",
            Self::Certificate(_) => "certificate",
            Self::Tls(_) => "tls",
            Self::HeadTooLarge | Self::BodyTooLarge(_) => "too_large",
            Self::Incomplete => "incomplete",
            Self::RequestBody => "request_body",
            Self::Protocol => "protocol",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchName => "the name has no address",
            Self::Failed => "the name could not be looked up",
        })
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            Self::HeadTooLarge
        } else if error.is_user() {
            Self::RequestBody
        } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            Self::Incomplete
        } else if error.is_parse() {
            Self::Protocol
        } else {
            // A reset connection, or a TLS error after the handshake.
            Self::Incomplete
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup(error) => error.fmt(f),
            Self::Prohibited(why) => write!(f, "the {} address {}", why.range, why.address),
            Self::Connect(error) => write!(f, "no connection: {error}"),
            Self::ConnectTimeout => f.write_str("no connection in time"),
            Self::TooManyConnections(Limit::Connections) => f.write_str("too many connections"),
            Self::TooManyConnections(Limit::Descriptors(limits)) => {
                write!(f, "too many descriptors: {limits}")
            }
            Self::Certificate(why) => write!(f, "the certificate was not accepted: {why}"),
            Self::Tls(why) => write!(f, "the TLS handshake failed: {why}"),
            Self::HeadTooLarge => f.write_str("the head of the response is too large"),
            Self::BodyTooLarge(limit) => write!(f, "the response is larger than {limit} bytes"),
            Self::FirstByteTimeout => f.write_str("no response in time"),
            Self::BetweenBytesTimeout => f.write_str("the response stalled"),
            Self::Incomplete => f.write_str("the connection was closed early"),
            Self::RequestBody => f.write_str("the request's body was not finished"),
            Self::Protocol => f.write_str("the response is not HTTP"),
            Self::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
