//! Errors of operations in buckets.

use std::fmt;

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bucket is not granted to this handler. The server's log says how to grant it.
    AccessDenied,
    /// The server has no such store.
    NoSuchStore,
    /// Another reason, such as a limit or a store that is not available: one line.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied => f.write_str("the bucket is not granted to this handler"),
            Self::NoSuchStore => f.write_str("there is no such store"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}
