//! `start_response`: begins the response.

use std::fmt;
use std::io;
use std::sync::Arc;

use crate::backend;
use crate::error::{Error, Exception};
use crate::refusal::StartError;

/// The maximum length of a block that [`Writer`] passes in one call, in bytes. The server accepts 1
/// MiB.
const BLOCK_MAX_BYTES: usize = 512 * 1024;

/// `start_response`: sets the response's status and fields.
///
/// Sends nothing: the server sends the head with the first non-empty block or at the end of the
/// body (R2). A clone refers to the same `start_response`; it may be moved into the body's iterator
/// and called there for the first block (R6).
#[derive(Clone)]
pub struct StartResponse {
    inner: Arc<backend::StartResponse>,
}

/// `write`: sends blocks before those of the body that the handler returns (R4).
///
/// Each call of `write` sends one block of at most 512 KiB, and returns when it is on its way to
/// the client. Combine small pieces with [`std::io::BufWriter`], or preferably return a body.
pub struct Writer {
    inner: Arc<backend::StartResponse>,
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

    /// Sets the status, such as `404 Not Found`, and the fields, which are sent in order with
    /// repeated names kept (R1). The server adds `Date`, `Server` and the message framing (R5).
    ///
    /// # Errors
    /// [`StartError::AlreadyStarted`] on a second call, [`StartError::Refused`] if a value is not
    /// allowed.
    pub fn call(&self, status: &str, headers: &[(&str, &str)]) -> Result<Writer, StartError> {
        let headers = headers
            .iter()
            .map(|&(name, value)| (name, value.as_bytes()));
        self.start(status.as_bytes(), headers, None)
    }

    /// Sets the status and the fields as [`call`](Self::call) does, from bytes.
    ///
    /// # Errors
    /// Fails as [`call`](Self::call) does.
    pub fn call_bytes<'a>(
        &self,
        status: impl AsRef<[u8]>,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Writer, StartError> {
        self.start(status.as_ref(), headers, None)
    }

    /// Starts over from an error handler: replaces the head if it has not been sent (R3). This is
    /// `start_response` with `error` as its `exc_info`, which the server logs.
    ///
    /// # Errors
    /// Returns `error` itself if the head has already been sent, so that `?` raises it again as the
    /// contract requires. Returns another error if a value is not allowed.
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

    /// Does nothing: a block that `write` accepted is on its way.
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
