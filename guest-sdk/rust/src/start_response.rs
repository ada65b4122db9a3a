//! `start_response`: how a handler begins its response.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::backend;
use crate::error::{Error, Exception};

/// Most bytes of a block that [`Writer`] passes in one call, of which the server takes a megabyte.
const BLOCK_MAX_BYTES: usize = 512 * 1024;

/// `start_response`: sets the response's status and fields.
///
/// It sends nothing: the head goes out with the first block that is not empty, or with the end of
/// the body (R2). A clone is the same `start_response`; it may be moved into the body's iterator
/// and called there, while the first block is made (R6).
#[derive(Clone)]
pub struct StartResponse {
    inner: Arc<backend::StartResponse>,
}

/// `write`: sends blocks before those of the body that the handler returns (R4).
///
/// Each call of `write` is one block, of 512 KiB at most, and returns when it is on its way to the
/// client: gather small pieces with [`std::io::BufWriter`], or return a body, which is the better
/// way where it will do.
pub struct Writer {
    inner: Arc<backend::StartResponse>,
}

/// Why a call of [`StartResponse`] was refused. The response's state is as it was before.
#[derive(Clone, PartialEq, Eq)]
pub enum StartError {
    /// It was called before; to start over after a failure, use [`StartResponse::restart`] (R3).
    AlreadyStarted,
    /// The head is on its way already (R3).
    HeadSent,
    /// The status or a field is not one that may be sent (R1). Says which, and why.
    Refused(String),
}

/// Why a block was not taken: what an [`io::Error`] of [`Writer`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteError {
    /// [`StartResponse`] has not been called yet.
    NotStarted,
    /// The client went away, or the server gave up on it. No block will be taken any more.
    Disconnected,
}

impl StartResponse {
    pub(crate) fn new(inner: backend::StartResponse) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn backend(&self) -> &Arc<backend::StartResponse> {
        &self.inner
    }

    /// Sets the status, such as `404 Not Found`, and the fields, sent in their order and repeated
    /// ones kept (R1). The server adds `Date`, `Server` and the message's framing (R5).
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`] on a second call, [`StartError::Refused`] where the values
    /// may not be sent.
    pub fn call(&self, status: &str, headers: &[(&str, &str)]) -> Result<Writer, StartError> {
        let headers = headers
            .iter()
            .map(|&(name, value)| (name, value.as_bytes()));
        self.start(status.as_bytes(), headers, None)
    }

    /// The same with a status and values that are bytes.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn call_bytes<'a>(
        &self,
        status: impl AsRef<[u8]>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Writer, StartError> {
        self.start(status.as_ref(), headers, None)
    }

    /// Starts over, from an error handler: the head is replaced if it has not been sent (R3). This
    /// is `start_response` with `exc_info`, which is `error`; the server logs it.
    ///
    /// # Errors
    /// `error` itself where the head is on its way already, so that `?` raises it again as the
    /// contract asks. Another one where the values may not be sent.
    pub fn restart(
        &self,
        status: &str,
        headers: &[(&str, &str)],
        error: Error,
    ) -> Result<Writer, Error> {
        let headers = headers
            .iter()
            .map(|&(name, value)| (name, value.as_bytes()));
        self.start(status.as_bytes(), headers, Some(error.exception()))
            .map_err(|refusal| match refusal {
                StartError::HeadSent => error,
                refusal => refusal.into(),
            })
    }

    fn start<'a>(
        &self,
        status: &[u8],
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        exc_info: Option<Exception>,
    ) -> Result<Writer, StartError> {
        let field = |(name, value): (&str, &[u8])| (name.to_owned(), value.to_vec());
        let headers: Vec<_> = headers.into_iter().map(field).collect();
        self.inner.call(status, &headers, exc_info)?;
        Ok(Writer {
            inner: Arc::clone(&self.inner),
        })
    }
}

impl io::Write for Writer {
    fn write(&mut self, block: &[u8]) -> io::Result<usize> {
        let block = &block[..block.len().min(BLOCK_MAX_BYTES)];
        self.inner.write(block)?;
        Ok(block.len())
    }

    /// Nothing to do: a block that `write` took is on its way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for StartResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StartResponse")
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted => formatter.write_str("start_response was called before"),
            Self::HeadSent => formatter.write_str("the head of the response has been sent"),
            Self::Refused(reason) => formatter.write_str(reason),
        }
    }
}

/// What `Display` says: the derived form would bring the escaping of strings into every handler.
impl fmt::Debug for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for StartError {}

impl fmt::Display for WriteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotStarted => "start_response has not been called",
            Self::Disconnected => "the client went away",
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
