//! Where a connection and a handler meet: body bytes in, head and blocks out, with backpressure
//! both ways.
//!
//! The handler's side waits (its fiber yields to the reactor); the connection's side never does.
//! Both are on the same thread, so the lock is never waited for: it is what lets the handler's
//! future be `Send`, as the engine demands.
//!
//! ```text
//!   connection                                             handler
//!   push_body / end_body  ──▶  body ─────────────────▶  read
//!   take_output           ◀──  head, blocks, ended ◀──  send_head / send_block / end
//!   sent                  ──▶  room
//!   client_gone           ──▶  every wait ends
//! ```

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Head, Trace};
use crate::http1::BodyError;

/// Why the request's body can't be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// The client went away.
    Disconnected,
    /// The client was silent for too long.
    TimedOut,
    /// The body is longer than the server accepts.
    TooLarge,
    /// The body's framing is broken.
    Malformed,
}

impl From<BodyError> for InputError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Malformed(_) => Self::Malformed,
            BodyError::TooLarge | BodyError::ExtensionsTooLarge | BodyError::TrailersTooLarge => {
                Self::TooLarge
            }
            BodyError::CutShort => Self::Disconnected,
            BodyError::TooSlow => Self::TimedOut,
        }
    }
}

/// What the handler has given since the connection last looked.
#[derive(Debug, Default)]
pub struct Output {
    /// The response's head, once.
    pub head: Option<Head>,
    /// Blocks of the body, none of them empty.
    pub blocks: VecDeque<Vec<u8>>,
    /// Set when no block will follow: the response is whole.
    pub ended: bool,
}

/// The state that a connection and a handler share for one request.
#[derive(Debug, Default)]
pub struct Exchange {
    state: Mutex<State>,
    trace: Trace,
}

#[derive(Debug, Default)]
struct State {
    body: Body,
    output: Output,
    /// Blocks that were given and have not left for the client, in bytes.
    unsent_bytes: usize,
    client_gone: bool,
    /// The Content-Length that the head declared, and how much was given, in bytes (B3).
    length: Option<u64>,
    given_bytes: u64,
    /// The handler has given its last block.
    over: bool,
    /// The handler, where it waits.
    waker: Option<Waker>,
}

/// The part of the request's body that has arrived and has not been read.
#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    /// Where the unread bytes begin: `start <= bytes.len()`.
    start: usize,
    end: Option<Result<(), InputError>>,
    /// The handler has asked for more than there is.
    awaited: bool,
    /// The handler has asked for some of it.
    was_asked_for: bool,
}

impl Exchange {
    /// How much of a request's body is held for a handler that has not read it, in bytes: one
    /// read of the socket. What exceeds it stays in the kernel, and stops the client (I4).
    pub const BODY_BUFFER_BYTES: usize = 64 * 1024;

    /// An exchange for a request; `has_body` tells whether body bytes will follow.
    pub fn new(has_body: bool) -> Self {
        let exchange = Self::default();
        if !has_body {
            exchange.lock().body.end = Some(Ok(()));
        }
        exchange
    }

    /// An exchange whose handler's steps are recorded.
    pub fn traced(has_body: bool, trace: Trace) -> Self {
        Self {
            trace,
            ..Self::new(has_body)
        }
    }

    /// Where the handler's steps are noted.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    // The handler's side.

    /// Waits for body bytes and takes at most `size` of them; none at the end of the body.
    ///
    /// # Errors
    ///
    /// Fails when the rest of the body can't be had. What arrived before is read first.
    pub async fn read(&self, size: usize) -> Result<Vec<u8>, InputError> {
        poll_fn(|context| self.poll_read(size, context)).await
    }

    /// Likewise, for those who wait in ways of their own.
    pub fn poll_read(
        &self,
        size: usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<Vec<u8>, InputError>> {
        let mut state = self.lock();
        let result = state.take_body(size);
        if result.is_none() {
            state.await_body(context.waker());
        }
        result.map_or(Poll::Pending, Poll::Ready)
    }

    /// Likewise, without waiting: `None` where nothing has arrived yet.
    pub fn try_read(&self, size: usize) -> Option<Result<Vec<u8>, InputError>> {
        self.lock().take_body(size)
    }

    /// Waits until `try_read` has an answer.
    pub async fn readable(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.has_body_news() {
                return Poll::Ready(());
            }
            state.await_body(context.waker());
            Poll::Pending
        })
        .await;
    }

    /// Hands over the head. The connection sends it with the block that follows, or the end.
    pub fn send_head(&self, head: Head) {
        let mut state = self.lock();
        state.length = head.length;
        state.output.head = Some(head);
    }

    /// Hands over a block and waits until it has left for the client (B1). `false` when there is
    /// no client any more.
    pub async fn send_block(&self, block: Vec<u8>) -> bool {
        let mut block = Some(block);
        poll_fn(|context| {
            let mut state = self.lock();
            if state.client_gone || state.over {
                return Poll::Ready(false);
            }
            if let Some(block) = block.take()
                && !block.is_empty()
            {
                state.unsent_bytes += block.len();
                state.given_bytes += block.len() as u64;
                state.output.blocks.push_back(block);
            }
            if state.unsent_bytes == 0 {
                return Poll::Ready(true);
            }
            state.wait(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Whether more was given than the Content-Length that was declared: no more is of any use.
    pub fn is_overfull(&self) -> bool {
        let state = self.lock();
        state
            .length
            .is_some_and(|length| state.given_bytes > length)
    }

    /// Ends the response, with a last block that nobody waits for. From here on the request's body
    /// reads as empty, and no block is taken.
    pub fn end(&self, last: Vec<u8>) {
        let mut state = self.lock();
        if !last.is_empty() {
            state.output.blocks.push_back(last);
        }
        state.output.ended = true;
        state.over = true;
    }

    /// Whether there is a client left to send to.
    pub fn is_client_gone(&self) -> bool {
        self.lock().client_gone
    }

    // The connection's side.

    /// How many bytes of body may be pushed: none until half the buffer is free, so that a
    /// handler which reads byte by byte does not make the host move the rest each time.
    pub fn body_room(&self) -> usize {
        let body = &self.lock().body;
        let room = Self::BODY_BUFFER_BYTES.saturating_sub(body.bytes.len() - body.start);
        if room < Self::BODY_BUFFER_BYTES / 2 {
            0
        } else {
            room
        }
    }

    /// Whether the handler waits for body bytes: what answers `Expect: 100-continue` (I3).
    pub fn body_awaited(&self) -> bool {
        self.lock().body.awaited
    }

    /// Whether the handler leaves the body, or what is left of it, unread, as far as one can tell:
    /// it has given its last block, or has not asked for a byte.
    pub fn leaves_body(&self) -> bool {
        let state = self.lock();
        state.over || !state.body.was_asked_for
    }

    /// Lets `fill` append body bytes, and wakes the handler if it waited for them.
    pub fn push_body<R>(&self, fill: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let mut state = self.lock();
        state.body.compact();
        let before = state.body.bytes.len();
        let result = fill(&mut state.body.bytes);
        if state.body.bytes.len() > before {
            state.body.awaited = false;
            state.wake();
        }
        result
    }

    /// Ends the body, well or not.
    pub fn end_body(&self, end: Result<(), InputError>) {
        let mut state = self.lock();
        if state.body.end.is_none() {
            state.body.end = Some(end);
            state.body.awaited = false;
            state.wake();
        }
    }

    /// Takes what the handler has given.
    pub fn take_output(&self) -> Output {
        std::mem::take(&mut self.lock().output)
    }

    /// Tells that all blocks taken so far have left for the client.
    pub fn sent(&self) {
        let mut state = self.lock();
        if state.unsent_bytes > 0 {
            state.unsent_bytes = state.output.blocks.iter().map(Vec::len).sum();
            if state.unsent_bytes == 0 {
                state.wake();
            }
        }
    }

    /// Tells that the client went away: reads fail, and no block is taken any more.
    pub fn client_gone(&self) {
        let mut state = self.lock();
        state.client_gone = true;
        state.output = Output::default();
        if state.body.end.is_none() {
            state.body.end = Some(Err(InputError::Disconnected));
        }
        state.wake();
    }

    /// A panic while the lock is held can't leave the state half-changed: no step of any method
    /// depends on the one before it having been finished.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Body bytes, or the end, or nothing yet.
    fn take_body(&mut self, size: usize) -> Option<Result<Vec<u8>, InputError>> {
        if self.over || size == 0 {
            return Some(Ok(Vec::new()));
        }
        self.body.was_asked_for = true;
        if self.body.start < self.body.bytes.len() {
            return Some(Ok(self.body.take(size)));
        }
        self.body.end.map(|end| end.map(|()| Vec::new()))
    }

    fn has_body_news(&self) -> bool {
        self.over || self.body.start < self.body.bytes.len() || self.body.end.is_some()
    }

    fn await_body(&mut self, waker: &Waker) {
        self.body.awaited = true;
        self.wait(waker);
    }

    fn wait(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(before) => before.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Body {
    /// Takes at most `size` bytes from the front; all of them without copying where it can.
    fn take(&mut self, size: usize) -> Vec<u8> {
        if self.start == 0 && self.bytes.len() <= size {
            return std::mem::take(&mut self.bytes);
        }
        let end = self.bytes.len().min(self.start.saturating_add(size));
        let taken = self.bytes[self.start..end].to_vec();
        self.start = end;
        if self.start == self.bytes.len() {
            self.compact();
        }
        taken
    }

    /// Gives back the room of what has been read, so that the buffer stays as small as its limit.
    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use super::*;
    use crate::gateway::wakes::{Wakes, poll};

    #[test]
    fn i2_a_read_waits_for_bytes_and_ends_with_none() {
        let exchange = Exchange::new(true);
        let wakes = Arc::new(Wakes::default());
        {
            let mut read = pin!(exchange.read(10));
            assert!(poll(read.as_mut(), &wakes).is_pending());
            assert!(exchange.body_awaited());
            exchange.push_body(|into| into.extend_from_slice(b"hello world"));
            assert_eq!(wakes.count(), 1);
            assert_eq!(poll(read, &wakes), Poll::Ready(Ok(b"hello worl".to_vec())));
        }
        assert_eq!(
            poll(pin!(exchange.read(10)), &wakes),
            Poll::Ready(Ok(b"d".to_vec()))
        );
        exchange.end_body(Ok(()));
        for _ in 0..2 {
            assert_eq!(
                poll(pin!(exchange.read(10)), &wakes),
                Poll::Ready(Ok(Vec::new()))
            );
        }
    }

    #[test]
    fn i2_whoever_looks_without_waiting_takes_nothing_from_whoever_waits() {
        let exchange = Exchange::new(true);
        let wakes = Arc::new(Wakes::default());
        assert_eq!(exchange.try_read(10), None);
        assert!(!exchange.body_awaited(), "to look is not to wait");
        let mut readable = pin!(exchange.readable());
        assert!(poll(readable.as_mut(), &wakes).is_pending());
        assert!(exchange.body_awaited());
        exchange.push_body(|into| into.extend_from_slice(b"abc"));
        assert_eq!(wakes.count(), 1);
        assert!(poll(readable, &wakes).is_ready());
        assert_eq!(exchange.try_read(2), Some(Ok(b"ab".to_vec())));
        assert_eq!(exchange.try_read(2), Some(Ok(b"c".to_vec())));
        exchange.end_body(Err(InputError::TimedOut));
        assert!(poll(pin!(exchange.readable()), &wakes).is_ready());
        assert_eq!(exchange.try_read(2), Some(Err(InputError::TimedOut)));
    }

    #[test]
    fn what_arrived_before_an_error_is_read_first() {
        let exchange = Exchange::new(true);
        let wakes = Arc::default();
        exchange.push_body(|into| into.push(b'x'));
        exchange.end_body(Err(InputError::Malformed));
        exchange.end_body(Ok(()));
        assert_eq!(
            poll(pin!(exchange.read(10)), &wakes),
            Poll::Ready(Ok(b"x".to_vec()))
        );
        let failed = poll(pin!(exchange.read(10)), &wakes);
        assert_eq!(failed, Poll::Ready(Err(InputError::Malformed)));
    }

    #[test]
    fn i4_the_buffer_is_bounded_however_slowly_it_is_read() {
        let exchange = Exchange::new(true);
        let wakes = Arc::default();
        let mut pushed = 0;
        for _ in 0..1000 {
            let room = exchange.body_room();
            exchange.push_body(|into| into.resize(into.len() + room, 0));
            pushed += room;
            assert!(poll(pin!(exchange.read(100)), &wakes).is_ready());
            assert!(exchange.lock().body.bytes.len() <= Exchange::BODY_BUFFER_BYTES);
        }
        assert!(
            pushed > Exchange::BODY_BUFFER_BYTES,
            "the buffer was filled again and again"
        );
    }

    #[test]
    fn b1_a_block_waits_until_the_one_before_has_left() {
        let exchange = Exchange::new(false);
        let wakes = Arc::new(Wakes::default());
        let mut send = pin!(exchange.send_block(b"one".to_vec()));
        assert!(poll(send.as_mut(), &wakes).is_pending());
        let output = exchange.take_output();
        assert_eq!(output.blocks, [b"one".to_vec()]);
        assert!(!output.ended);
        assert!(
            poll(send.as_mut(), &wakes).is_pending(),
            "taken is not sent"
        );
        exchange.sent();
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll(send, &wakes), Poll::Ready(true));
    }

    #[test]
    fn nothing_is_read_or_taken_when_the_response_is_over() {
        let exchange = Exchange::new(true);
        let wakes = Arc::default();
        exchange.push_body(|into| into.push(b'x'));
        exchange.end(b"last".to_vec());
        let read = poll(pin!(exchange.read(1)), &wakes);
        assert_eq!(read, Poll::Ready(Ok(Vec::new())));
        let sent = poll(pin!(exchange.send_block(b"later".to_vec())), &wakes);
        assert_eq!(sent, Poll::Ready(false));
        let output = exchange.take_output();
        assert_eq!(output.blocks, [b"last".to_vec()]);
        assert!(output.ended);
    }

    #[test]
    fn b2_a_client_that_leaves_ends_every_wait() {
        let exchange = Exchange::new(true);
        let wakes = Arc::new(Wakes::default());
        let mut send = pin!(exchange.send_block(b"one".to_vec()));
        assert!(poll(send.as_mut(), &wakes).is_pending());
        exchange.client_gone();
        assert_eq!(wakes.count(), 1);
        assert_eq!(poll(send, &wakes), Poll::Ready(false));
        let read = poll(pin!(exchange.read(1)), &wakes);
        assert_eq!(read, Poll::Ready(Err(InputError::Disconnected)));
        assert!(exchange.take_output().blocks.is_empty());
    }
}
