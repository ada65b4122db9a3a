//! Connects a connection and a handler: request body in, head and blocks out, with backpressure in
//! both directions.
//!
//! The handler's side blocks (its fiber yields to the reactor); the connection's side never blocks.
//! Both run on the same thread, so the lock is never contended: it makes the handler's future
//! `Send`, as the engine requires.
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
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Head, Trace};
use crate::http1::{BodyError, RequestBody, RequestHead, is_bodiless};

/// The reason why the rest of the request's body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// The client disconnected.
    Disconnected,
    /// The client sent nothing for too long.
    TimedOut,
    /// The body is longer than the server accepts.
    TooLarge,
    /// The body's framing is invalid.
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

/// The handler's output since the connection last took it.
#[derive(Debug, Default)]
pub struct Output {
    /// The response's head, once.
    pub head: Option<Head>,
    /// Blocks of the body, none of them empty.
    pub blocks: VecDeque<Vec<u8>>,
    /// Set when no block will follow: the response is complete.
    pub ended: bool,
}

/// The result of sending a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The block was sent to the client.
    Left,
    /// The block was dropped, as will be any further one: the response has no body (B5).
    Dropped,
    /// The block was rejected: the client disconnected, or the response has ended.
    Refused,
}

/// The state that a connection and a handler share for one request.
#[derive(Debug, Default)]
pub struct Exchange {
    state: Mutex<State>,
    /// Whether the request is a HEAD, so that its response has no body.
    is_head: bool,
    trace: Trace,
    number: Option<NonZeroU64>,
}

#[derive(Debug, Default)]
struct State {
    body: Body,
    output: Output,
    /// The size of the blocks that are not sent to the client yet, in bytes.
    unsent_bytes: usize,
    client_gone: bool,
    /// The declared Content-Length, and the number of body bytes that the handler gave so far (B3).
    length: Option<u64>,
    given_bytes: u64,
    /// Whether the handler gave its last block, or the head of a response without a body.
    over: bool,
    /// Whether the response has no body (B5). Set with its head.
    bodiless: bool,
    /// Whether the handler's body is an iterator of blocks, which has to be closed (B2).
    iterates: bool,
    /// Whether blocks were sent to the client since the last check.
    progressed: bool,
    /// Wakes the handler if it waits.
    waker: Option<Waker>,
}

/// The part of the request's body that has arrived and has not been read.
#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    /// The start of the unread bytes: `start <= bytes.len()`.
    start: usize,
    end: Option<Result<(), InputError>>,
    /// Whether the handler waits for more bytes than have arrived.
    awaited: bool,
    /// Whether the handler has read from the body at all.
    was_asked_for: bool,
    /// The number of bytes that the handler has read.
    read_bytes: u64,
}

impl Exchange {
    /// The buffer for a request's body that the handler has not read, in bytes: one read of the
    /// socket. Excess data stays in the kernel, which stops the client (I4).
    pub const BODY_BUFFER_BYTES: usize = 64 * 1024;

    /// Creates an exchange for a request; `has_body` says whether body bytes will follow.
    pub fn new(has_body: bool) -> Self {
        Self::build(has_body, false)
    }

    /// Creates the exchange for a request.
    pub fn for_request(head: &RequestHead) -> Self {
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
            number: None,
        }
    }

    /// Records the handler's steps in `trace`.
    #[must_use]
    pub fn with_trace(self, trace: Trace) -> Self {
        Self { trace, ..self }
    }

    /// Sets the number of the request, under which the lines of its handler are recorded.
    #[must_use]
    pub fn with_number(self, number: Option<NonZeroU64>) -> Self {
        Self { number, ..self }
    }

    /// Returns the number of the request, if requests are recorded.
    pub fn number(&self) -> Option<NonZeroU64> {
        self.number
    }

    /// Returns the trace of the handler's steps.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    // Methods for the handler's side.

    /// Waits for body bytes and returns at most `size` of them; empty at the end of the body.
    ///
    /// # Errors
    ///
    /// Fails if the rest of the body is not available. The bytes that arrived before are returned
    /// first.
    pub async fn read(&self, size: usize) -> Result<Vec<u8>, InputError> {
        poll_fn(|context| self.poll_read(size, context)).await
    }

    /// Polls for body bytes as [`read`](Self::read) does, for callers that implement their own
    /// futures.
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

    /// Returns how much of the body the handler has read, in bytes.
    pub fn read_bytes(&self) -> u64 {
        self.lock().body.read_bytes
    }

    /// Returns body bytes as [`read`](Self::read) does, without waiting: `None` if none have
    /// arrived yet.
    pub fn try_read(&self, size: usize) -> Option<Result<Vec<u8>, InputError>> {
        self.lock().take_body(size)
    }

    /// Waits until `try_read` has a result.
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

    /// Passes on the head. The connection sends it together with the next block or the end. A
    /// response without a body (B5) is complete with its head: the client sees nothing of any
    /// further output.
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

    /// Passes on a block and waits until it is sent to the client (B1), unless the block is dropped
    /// or rejected.
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

    /// Reports whether the handler gave more bytes than the Content-Length that it declared.
    /// Further bytes are not sent.
    pub fn is_overfull(&self) -> bool {
        self.lock().is_overfull()
    }

    /// Ends the response, with a last block that is not waited for. Afterwards the request's body
    /// reads as empty, and blocks are rejected.
    pub fn end(&self, last: Vec<u8>) {
        let mut state = self.lock();
        if !last.is_empty() {
            state.output.blocks.push_back(last);
        }
        state.output.ended = true;
        state.over = true;
    }

    /// Records that the handler's body is an iterator of blocks, which has to be closed.
    pub fn iterate(&self) {
        self.lock().iterates = true;
    }

    /// Waits until the client has disconnected.
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

    // Methods for both sides.

    /// Reports whether the client has disconnected.
    pub fn is_client_gone(&self) -> bool {
        self.lock().client_gone
    }

    // Methods for the connection's side.

    /// Returns how many bytes of body may be pushed. This is zero until half the buffer is free, so
    /// that a handler that reads byte by byte does not make the host move the rest each time.
    pub fn body_room(&self) -> usize {
        let body = &self.lock().body;
        let room = Self::BODY_BUFFER_BYTES.saturating_sub(body.bytes.len() - body.start);
        if room < Self::BODY_BUFFER_BYTES / 2 {
            0
        } else {
            room
        }
    }

    /// Reports whether the handler waits for body bytes, which triggers the response to `Expect:
    /// 100-continue` (I3).
    pub fn body_awaited(&self) -> bool {
        self.lock().body.awaited
    }

    /// Reports whether the handler apparently leaves the rest of the body unread: it has given its
    /// last block, or has not read a byte.
    pub fn leaves_body(&self) -> bool {
        let state = self.lock();
        state.over || !state.body.was_asked_for
    }

    /// Lets `fill` append body bytes, and wakes the handler if it waits for them.
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

    /// Ends the body, successfully or with an error.
    pub fn end_body(&self, end: Result<(), InputError>) {
        let mut state = self.lock();
        if state.body.end.is_none() {
            state.body.end = Some(end);
            state.body.awaited = false;
            state.wake();
        }
    }

    /// Takes the handler's output.
    pub fn take_output(&self) -> Output {
        std::mem::take(&mut self.lock().output)
    }

    /// Records that all blocks taken so far were sent to the client.
    pub fn sent(&self) {
        let mut state = self.lock();
        if state.unsent_bytes > 0 {
            state.unsent_bytes = state.output.blocks.iter().map(Vec::len).sum();
            if state.unsent_bytes == 0 {
                // Blocks beyond the Content-Length are not sent.
                state.progressed = !state.is_overfull();
                state.wake();
            }
        }
    }

    /// Reports whether the handler waits for its client: for bytes of the request's body, or until
    /// its output is sent.
    pub fn waits_for_client(&self) -> bool {
        let state = self.lock();
        let waits_for_body = state.body.awaited && !state.has_body_news();
        !state.client_gone && (waits_for_body || state.unsent_bytes > 0)
    }

    /// Reports whether blocks were sent to the client since the last call.
    pub fn take_progress(&self) -> bool {
        std::mem::take(&mut self.lock().progressed)
    }

    /// Reports whether the handler's body is an iterator of blocks, which has to be closed.
    pub fn iterates(&self) -> bool {
        self.lock().iterates
    }

    /// Records that the client disconnected: reads fail, and blocks are rejected.
    pub fn client_gone(&self) {
        let mut state = self.lock();
        state.client_gone = true;
        state.output = Output::default();
        if state.body.end.is_none() {
            state.body.end = Some(Err(InputError::Disconnected));
        }
        state.wake();
    }

    /// Locks the state. A poisoned lock is harmless: no step of any method depends on completion of
    /// the one before it, so a panic cannot leave the state inconsistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns body bytes or the end of the body, or `None` if nothing has arrived yet.
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

    /// Passes on the first block of a response without a body, so that `wasgi check` can report it.
    /// The connection drops it.
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
    /// Removes at most `size` bytes from the front. Returns the whole buffer without copying if
    /// possible.
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

    /// Removes the bytes that have been read, so that the buffer does not exceed its limit.
    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
    }
}

#[cfg(test)]
mod tests;
