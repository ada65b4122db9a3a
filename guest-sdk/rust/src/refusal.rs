//! Why the server refuses a call: below [`Input`](crate::Input), and below
//! [`StartResponse`](crate::StartResponse) and its [`Writer`](crate::Writer).

use std::fmt;
use std::io;

/// Why the rest of the request's body can't be read: the inner error of an [`io::Error`] of
/// [`Input`](crate::Input).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// The client disconnected before it had sent the whole body.
    Disconnected,
    /// The client sent nothing for longer than the server waits.
    TimedOut,
    /// The body is longer than the server accepts.
    TooLarge,
    /// The body's framing is invalid.
    Malformed,
}

/// Why a call of [`StartResponse`](crate::StartResponse) was refused. The response's state is
/// unchanged.
#[derive(Clone, PartialEq, Eq)]
pub enum StartError {
    /// `start_response` was already called. To start over after a failure, use
    /// [`StartResponse::restart`](crate::StartResponse::restart) (R3).
    AlreadyStarted,
    /// The head has already been sent (R3).
    HeadSent,
    /// The status or a field is not allowed (R1). The text says which, and why.
    Refused(String),
}

/// Why a block was not accepted: the inner error of an [`io::Error`] of
/// [`Writer`](crate::Writer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// [`StartResponse`](crate::StartResponse) has not been called yet.
    NotStarted,
    /// The client disconnected, or the server closed the connection. Further blocks will be
    /// refused.
    Disconnected,
}

impl fmt::Display for InputError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Disconnected => "the client disconnected before it sent the whole body",
            Self::TimedOut => "the client stopped sending the body",
            Self::TooLarge => "the body is longer than the server accepts",
            Self::Malformed => "the body's framing is invalid",
        })
    }
}

impl std::error::Error for InputError {}

impl From<InputError> for io::Error {
    fn from(error: InputError) -> Self {
        let kind = match error {
            InputError::Disconnected => io::ErrorKind::ConnectionAborted,
            InputError::TimedOut => io::ErrorKind::TimedOut,
            InputError::TooLarge => io::ErrorKind::FileTooLarge,
            InputError::Malformed => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted => formatter.write_str("start_response was already called"),
            Self::HeadSent => formatter.write_str("the head of the response was already sent"),
            Self::Refused(reason) => formatter.write_str(reason),
        }
    }
}

/// Formats as `Display` does: the derived form would add the escaping of strings to every handler.
impl fmt::Debug for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for WriteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotStarted => "start_response was not called",
            Self::Disconnected => "the client disconnected",
        })
    }
}

impl std::error::Error for WriteError {}

impl From<WriteError> for io::Error {
    fn from(error: WriteError) -> Self {
        let kind = match error {
            WriteError::NotStarted => io::ErrorKind::NotConnected,
            WriteError::Disconnected => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, error)
    }
}
