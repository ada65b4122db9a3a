//! A program's standard input: the request body, from the exchange.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdinStream};
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use crate::gateway::{Exchange, InputError};

/// The maximum size of one read, in bytes: the host must not allocate whatever size a guest
/// requests.
const READ_BYTES: usize = 64 * 1024;

/// The standard input. Clones read the same body.
#[derive(Clone, Debug)]
pub(super) struct Stdin {
    exchange: Arc<Exchange>,
}

impl Stdin {
    pub(super) fn new(exchange: Arc<Exchange>) -> Self {
        Self { exchange }
    }
}

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    /// For WASI 0.3, which is not supported.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty())
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        self.exchange.readable().await;
    }
}

#[wasmtime_wasi::async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        match self.exchange.try_read(size.min(READ_BYTES)) {
            None => Ok(Bytes::new()),
            Some(Ok(block)) if block.is_empty() => Err(StreamError::Closed),
            Some(Ok(block)) => Ok(block.into()),
            Some(Err(error)) => Err(StreamError::LastOperationFailed(io_error(error).into())),
        }
    }
}

fn io_error(error: InputError) -> io::Error {
    use io::ErrorKind;
    match error {
        InputError::Disconnected => io::Error::new(
            ErrorKind::ConnectionReset,
            "the client \
                                                                                disconnected",
        ),
        InputError::TimedOut => io::Error::new(ErrorKind::TimedOut, "the client sent nothing"),
        InputError::TooLarge => io::Error::new(ErrorKind::InvalidData, "the body is too large"),
        InputError::Malformed => io::Error::new(ErrorKind::InvalidData, "the body is malformed"),
    }
}
