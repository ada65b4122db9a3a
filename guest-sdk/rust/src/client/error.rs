//! The error of a request to another host.

use std::fmt;

/// Why a request to another host has no response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The host is not granted to this handler. The server's log has the line that grants it.
    Denied,
    /// The request has no absolute URL, or a field that a client may not set.
    Invalid(String),
    /// No connection could be made, or it failed. Has WASI's name of the error.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("the host is not granted to this handler"),
            Self::Invalid(why) => write!(f, "not a valid request: {why}"),
            Self::Failed(why) => write!(f, "the request failed: {why}"),
        }
    }
}

impl std::error::Error for Error {}
