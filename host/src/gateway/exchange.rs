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
use crate::http1::{BodyError, RequestBody, RequestHead, is_bodiless};

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

/// What became of a block that a handler gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has left for the client.
    Left,
    /// It is dropped, and so is every other: the response has no body (B5).
    Dropped,
    /// No block is taken any more: the client went away, or the response is over.
    Refused,
}

/// The state that a connection and a handler share for one request.
#[derive(Debug, Default)]
pub struct Exchange {
    state: Mutex<State>,
    /// The request is a HEAD: its response has no body.
    is_head: bool,
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
    /// The handler has given its last block, or the response has no body and its head was given.
    over: bool,
    /// The response has no body (B5), and its head was given.
    bodiless: bool,
    /// The handler's body is an iterator of blocks, which is to be closed (B2).
    iterates: bool,
    /// Blocks have left for the client since somebody last asked.
    progressed: bool,
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
    /// What the handler has read, in bytes.
    read_bytes: u64,
}

impl Exchange {
    /// How much of a request's body is held for a handler that has not read it, in bytes: one
    /// read of the socket. What exceeds it stays in the kernel, and stops the client (I4).
    pub const BODY_BUFFER_BYTES: usize = 64 * 1024;

    /// An exchange for a request; `has_body` tells whether body bytes will follow.
    pub fn new(has_body: bool) -> Self {
        Self::build(has_body, false)
    }

    /// The exchange for a request.
    pub fn of(head: &RequestHead) -> Self {
        Self::build(head.body() != RequestBody::None, head.method() == "HEAD")
    }

    fn build(has_body: bool, is_head: bool) -> Self {
        let body = Body {
            end: (!has_body).then_some(Ok(())),
            ..Body::default()
        };
        Self {
            state: Mutex::new(State {
                body,
                ..State::default()
            }),
            is_head,
            trace: Trace::default(),
        }
    }

    /// The same, with the handler's steps recorded in `trace`.
    #[must_use]
    pub fn with_trace(self, trace: Trace) -> Self {
        Self { trace, ..self }
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

    /// How much of the body the handler has read, in bytes.
    pub fn read_bytes(&self) -> u64 {
        self.lock().body.read_bytes
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

    /// Hands over the head. The connection sends it with the block that follows, or the end. A
    /// response that has no body (B5) is whole with it: what the handler does from here on is
    /// nothing to the client.
    pub fn send_head(&self, head: Head) {
        let mut state = self.lock();
        state.length = head.length;
        if self.is_head || is_bodiless(head.status) {
            state.bodiless = true;
            state.output.ended = true;
            state.over = true;
        }
        state.output.head = Some(head);
    }

    /// Hands over a block and waits until it has left for the client (B1), unless no block is
    /// taken.
    pub async fn send_block(&self, block: Vec<u8>) -> Sent {
        let mut block = Some(block);
        poll_fn(|context| {
            let mut state = self.lock();
            if state.client_gone {
                return Poll::Ready(Sent::Refused);
            }
            if state.bodiless {
                state.note_dropped(block.take());
                return Poll::Ready(Sent::Dropped);
            }
            if state.over {
                return Poll::Ready(Sent::Refused);
            }
            if let Some(block) = block.take()
                && !block.is_empty()
            {
                state.unsent_bytes += block.len();
                state.given_bytes += block.len() as u64;
                state.output.blocks.push_back(block);
            }
            if state.unsent_bytes == 0 {
                return Poll::Ready(Sent::Left);
            }
            state.wait(context.waker());
            Poll::Pending
        })
        .await
    }

    /// Whether more was given than the Content-Length that was declared: no more is of any use.
    pub fn is_overfull(&self) -> bool {
        self.lock().is_overfull()
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

    /// Tells that the handler's body is an iterator of blocks, which is to be closed.
    pub fn iterate(&self) {
        self.lock().iterates = true;
    }

    /// Waits until the client has gone.
    pub async fn gone(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            if state.client_gone {
                return Poll::Ready(());
            }
            state.wait(context.waker());
            Poll::Pending
        })
        .await;
    }

    // Either side.

    /// Whether the client has gone away.
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
                // Of blocks beyond the Content-Length nothing has left.
                state.progressed = !state.is_overfull();
                state.wake();
            }
        }
    }

    /// Whether the handler waits for its client: for bytes of the request's body, or for the client
    /// to take what it was given.
    pub fn waits_for_client(&self) -> bool {
        let state = self.lock();
        let waits_for_body = state.body.awaited && !state.has_body_news();
        !state.client_gone && (waits_for_body || state.unsent_bytes > 0)
    }

    /// Whether blocks have left for the client since this was last asked.
    pub fn take_progress(&self) -> bool {
        std::mem::take(&mut self.lock().progressed)
    }

    /// Whether the handler's body is an iterator of blocks, which is to be closed.
    pub fn iterates(&self) -> bool {
        self.lock().iterates
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

    fn is_overfull(&self) -> bool {
        self.length.is_some_and(|length| self.given_bytes > length)
    }

    /// Hands over the first block that goes with a head without a body, for whoever looks at what
    /// handlers do wrong. The connection drops it.
    fn note_dropped(&mut self, block: Option<Vec<u8>>) {
        if self.output.head.is_some() && self.output.blocks.is_empty() {
            let block = block.filter(|block| !block.is_empty());
            self.output.blocks.extend(block);
        }
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
            self.read_bytes += self.bytes.len() as u64;
            return std::mem::take(&mut self.bytes);
        }
        let end = self.bytes.len().min(self.start.saturating_add(size));
        let taken = self.bytes[self.start..end].to_vec();
        self.read_bytes += taken.len() as u64;
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
mod tests;
