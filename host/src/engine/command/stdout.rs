//! A program's standard output: a buffer of one size, between the guest and what carries its output
//! to the client.
//!
//! Both ends are in one call and take turns (see `beside`): what the guest has written when it
//! rests is taken in the same turn, so nobody is woken for that. A guest that found the buffer full
//! is woken when there is room.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// What is held of output that the client has not taken, in bytes, beside as much that is on its
/// way.
const BUFFER_BYTES: usize = 64 * 1024;

/// The standard output. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Stdout {
    buffer: Arc<Mutex<Buffer>>,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    /// The program is over: nothing more will be written.
    ended: bool,
    /// The guest, where it waits for room.
    writer: Option<Waker>,
}

impl Stdout {
    /// Waits for output, and takes all of it; none at the end. To be awaited beside the guest, in
    /// the same task and after it: it does not see to being woken.
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

    /// Tells that nothing more will be written.
    pub(super) fn end(&self) {
        self.lock().ended = true;
    }

    /// Whether nothing more will be written. What has been written may still have to be taken.
    pub(super) fn has_ended(&self) -> bool {
        let buffer = self.lock();
        buffer.ended && buffer.bytes.is_empty()
    }

    /// A panic while the lock is held can't leave the buffer half-changed.
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
    /// For WASI 0.3, which is not offered.
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

    /// What is in the buffer is on its way: the guest need not wait for it.
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
