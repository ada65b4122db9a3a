//! A program's standard output: a buffer of fixed size between the guest and the task that sends
//! its output to the client.
//!
//! Both ends run in one call and take turns (see `beside`): output of the guest is taken in the
//! same turn in which the guest pauses, so that needs no wake-up. A guest that found the buffer
//! full is woken when there is space.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// The maximum amount of buffered output, in bytes. As much again can be in transit.
const BUFFER_BYTES: usize = 64 * 1024;

/// The standard output. Clones share the buffer.
#[derive(Clone, Debug, Default)]
pub(super) struct Stdout {
    buffer: Arc<Mutex<Buffer>>,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The program has ended: there will be no more output.
    ended: bool,
    /// The guest's waker, if it waits for space.
    writer: Option<Waker>,
}

impl Stdout {
    /// Waits for output and takes all of it; `None` at the end. Must be awaited in the same task as
    /// the guest, after it: it doesn't register a waker.
    pub(super) async fn take(&self) -> Option<Vec<u8>> {
        poll_fn(|_| {
            let mut buffer = self.lock();
            if !buffer.bytes.is_empty() {
                if let Some(writer) = buffer.writer.take() {
                    writer.wake();
                }
                return Poll::Ready(Some(std::mem::take(&mut buffer.bytes)));
            }
            if buffer.ended {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Records that there will be no more output.
    pub(super) fn end(&self) {
        self.lock().ended = true;
    }

    /// Returns whether all output has been written and taken.
    pub(super) fn has_ended(&self) -> bool {
        let buffer = self.lock();
        buffer.ended && buffer.bytes.is_empty()
    }

    /// Locks the buffer. A panic while the lock is held can't leave it inconsistent.
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdout {
    /// For WASI 0.3, which is not supported.
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        poll_fn(|context| {
            let mut buffer = self.lock();
            if buffer.bytes.len() < BUFFER_BYTES {
                return Poll::Ready(());
            }
            buffer.writer = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut buffer = self.lock();
        if bytes.len() > BUFFER_BYTES.saturating_sub(buffer.bytes.len()) {
            return Err(StreamError::trap("wrote more than check-write permits"));
        }
        buffer.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    /// Buffered output will be sent: the guest need not wait for it.
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(BUFFER_BYTES.saturating_sub(self.lock().bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::wakes::{Wakes, poll};

    #[test]
    fn a_full_buffer_has_its_writer_wait() {
        let mut stdout = Stdout::default();
        let wakes = Arc::new(Wakes::default());
        assert_eq!(poll(stdout.take(), &wakes), Poll::Pending);
        assert_eq!(stdout.check_write().ok(), Some(BUFFER_BYTES));
        stdout
            .write(vec![b'x'; BUFFER_BYTES].into())
            .expect("there is room");
        assert_eq!(stdout.check_write().ok(), Some(0));
        assert!(stdout.write(Bytes::from_static(b"y")).is_err());
        assert!(poll(stdout.ready(), &wakes).is_pending());
        let taken = poll(stdout.take(), &wakes);
        assert_eq!(taken, Poll::Ready(Some(vec![b'x'; BUFFER_BYTES])));
        assert_eq!(wakes.count(), 1, "there is room");
        assert!(poll(stdout.ready(), &wakes).is_ready());
    }

    #[test]
    fn the_end_comes_behind_all_that_was_written() {
        let mut stdout = Stdout::default();
        let wakes = Arc::default();
        stdout.write(Bytes::from_static(b"last")).expect("room");
        stdout.end();
        assert!(!stdout.has_ended());
        assert_eq!(
            poll(stdout.take(), &wakes),
            Poll::Ready(Some(b"last".to_vec()))
        );
        assert!(stdout.has_ended());
        assert_eq!(poll(stdout.take(), &wakes), Poll::Ready(None));
    }
}
