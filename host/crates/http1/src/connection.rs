//! One HTTP/1.x connection as the server sees it, without its socket. All transitions are in this
//! file.
//!
//! ```text
//!   new ──▶ Idle ──────▶ Head ──────▶ Busy ──────▶ Drain
//!            ▲ │          │          ▲ │ │          │ │
//!            │ │          ▼          │ │ │          │ │
//!            │ ├──────▶ Refused ─────┘ │ │          │ │
//!            │ │                       │ │          │ │
//!            ├─┼───────────────────────┘ │          │ │
//!            └─┼─────────────────────────┼──────────┘ │
//!              ▼                         ▼            ▼
//!            Closed ◀────────────────────┴────────────┘
//!
//!   Idle ─▶ Head       a byte arrived that is not part of an empty line
//!   Idle ─▶ Refused    too many empty lines arrived
//!   Idle ─▶ Closed     the peer ended its side, the deadline passed, or the server stops
//!   Head ─▶ Busy       next_request: the head is complete and valid
//!   Head ─▶ Refused    next_request: the head is invalid or cut short; or the deadline passed
//!   Refused ─▶ Busy    next_request returned the rejection; its response is the last
//!   Busy ─▶ Idle       next_step: response and body are complete, and it isn't the last response
//!   Busy ─▶ Drain      next_step: as above, but the rest of the body must arrive first
//!   Busy ─▶ Closed     next_step: it was the last response, or the response is incomplete, or the
//!                      body isn't worth reading or can't be read to its end
//!   Drain ─▶ Idle      next_request: the body has ended
//!   Drain ─▶ Closed    next_request: the body is too long or malformed; or the deadline passed
//! ```
//!
//! A busy connection has a transaction: one request and its response. A transaction has two parts
//! with independent states: the intake of the request body, and the response. Pipelined requests
//! wait in the buffer, unparsed, until the current transaction is over, so responses are always in
//! order. After a framing error, no further byte is parsed.
//!
//! The owner of the socket calls, in this order:
//!
//! - `receive` with bytes from the socket, while `wants_bytes`, and `receive_end` at its end;
//! - `next_request` until it returns nothing. For each request or rejection: `read_body` when the
//!   handler wants data, `start_response`, `frame` for each block, `finish_response`, `next_step`;
//! - `expired`, when `deadline` has passed.
//!
//! A call out of order has no effect: it writes nothing and reads nothing.

use std::sync::Arc;
use std::time::Instant;

use super::body::{BodyProgress, Discard};
use super::buffer::ReceiveBuffer;
use super::error::{BodyError, CloseReason, Rejection};
use super::event::{Expiry, Incoming, Step};
use super::head::RequestHead;
use super::intake::Intake;
use super::layout::Layout;
use super::limits::Limits;
use super::response::{BodyLength, Finish, Frame, ResponseHead, Skipped, Stamp};
use super::scan::HeadScanner;
use super::transaction::Transaction;

/// The maximum logged length of a rejected request's first line.
const REJECTED_LINE_BYTES: usize = 256;

/// One HTTP/1.x connection: takes bytes and the current time, returns requests, bytes to send and a
/// deadline.
#[derive(Debug)]
pub struct Connection {
    limits: Arc<Limits>,
    buffer: ReceiveBuffer,
    state: State,
    requests_count: u32,
    is_stopping: bool,
}

/// The state of a connection. The module documentation shows the graph.
#[derive(Debug)]
enum State {
    /// Between two requests. No part of the next one has arrived, except empty lines.
    Idle {
        deadline: Option<Instant>,
        newlines_count: usize,
    },
    /// A part of a request head has arrived.
    Head {
        deadline: Option<Instant>,
        scanner: HeadScanner,
    },
    /// A request is rejected, and `next_request` has not returned the rejection yet.
    Refused(Rejection),
    /// A request is in progress.
    Busy(Transaction),
    /// A response is complete, and the rest of its request's body is being discarded.
    Drain(Intake),
    /// No further request is read.
    Closed(CloseReason),
}

impl Connection {
    /// Creates a connection that was accepted at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            state: idle(&limits, now),
            limits,
            buffer: ReceiveBuffer::default(),
            requests_count: 0,
            is_stopping: false,
        }
    }

    /// Receives bytes that the peer sent.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if bytes.is_empty() || self.is_deaf() {
            return;
        }
        self.buffer.append(bytes);
        match &mut self.state {
            State::Idle { .. } => self.begin_head(now),
            State::Busy(Transaction { intake, .. }) | State::Drain(intake) => {
                intake.arrived(bytes.len(), now, &self.limits);
            }
            State::Head { .. } | State::Refused(_) | State::Closed(_) => {}
        }
    }

    /// Records that the peer has ended its side. Requests received before are still answered.
    pub fn receive_end(&mut self) {
        self.buffer.end();
    }

    /// Returns whether to read bytes from the peer now. False while `Limits::read_ahead_bytes` or
    /// more are buffered during a transaction.
    pub fn wants_bytes(&self) -> bool {
        if self.buffer.is_ended() {
            return false;
        }
        match self.state {
            State::Idle { .. } | State::Head { .. } | State::Refused(_) | State::Drain(_) => true,
            State::Busy(_) => self.is_deaf() || self.buffer.len() < self.limits.read_ahead_bytes,
            State::Closed(_) => false,
        }
    }

    /// Returns the next request if it is complete and the previous transaction is over.
    pub fn next_request(&mut self, now: Instant) -> Option<Incoming> {
        if let State::Drain(intake) = &mut self.state {
            let discard = intake.discard(&mut self.buffer, &self.limits);
            self.after_discard(discard, now);
        }
        if let Some(head) = self.read_head() {
            return Some(Incoming::Request(head));
        }
        match self.state {
            State::Idle { .. } if self.buffer.is_ended() => {
                Some(Incoming::Closed(self.close(CloseReason::PeerFinished)))
            }
            State::Refused(rejection) => {
                self.begin_refusal(rejection);
                Some(Incoming::Rejected(rejection))
            }
            State::Closed(reason) => Some(Incoming::Closed(reason)),
            _ => None,
        }
    }

    /// Returns the start of the first line of the rejected request, as far as it arrived and up to
    /// the length to log. Can contain any bytes. Empty unless the current transaction is a
    /// rejection.
    pub fn rejected_line(&self) -> &[u8] {
        match &self.state {
            State::Busy(Transaction {
                last: Some(CloseReason::Rejected(_)),
                ..
            }) => {
                let line = self.buffer.bytes();
                let end = line
                    .iter()
                    .position(|byte| b"\r\n".contains(byte))
                    .unwrap_or(line.len());
                line.get(..end.min(REJECTED_LINE_BYTES)).unwrap_or_default()
            }
            _ => b"",
        }
    }

    /// Appends at most `max` bytes of the decoded request body to `into`.
    pub fn read_body(&mut self, max: usize, into: &mut Vec<u8>, now: Instant) -> BodyProgress {
        match &mut self.state {
            State::Busy(transaction) => {
                transaction
                    .intake
                    .read(&mut self.buffer, max, into, &self.limits, now)
            }
            _ => BodyProgress::End,
        }
    }

    /// Reads the part of the request body that has arrived and discards it. Call this before a
    /// response that doesn't depend on the body, so that a malformed body can change its status.
    /// Neither asks the client for the body nor waits for it: an [incomplete](Discard::Incomplete)
    /// body is read after the response.
    pub fn discard_body(&mut self) -> Discard {
        let State::Busy(transaction) = &mut self.state else {
            return Discard::Done;
        };
        let discard = transaction.intake.discard(&mut self.buffer, &self.limits);
        if discard == Discard::TooMuch && !transaction.intake.is_continue_owed() {
            transaction.last.get_or_insert(CloseReason::BodyUnread);
        }
        discard
    }

    /// Call this before a response that leaves the body, or a part of it, unread. If the body may
    /// be too long to discard, makes the response the last, so that its head says so. A client that
    /// notices only by the end of the connection may have sent the next request by then (RFC 9112
    /// section 9.6).
    pub fn leave_body(&mut self) {
        if let State::Busy(transaction) = &mut self.state
            && transaction.intake.may_be_too_much()
            && !transaction.intake.is_continue_owed()
        {
            transaction.last.get_or_insert(CloseReason::BodyUnread);
        }
    }

    /// Returns whether the client waits for a `100 Continue` (RFC 9110 section 10.1.1): it asked
    /// for one, has sent no byte of the body, and the response has not started.
    pub fn continue_owed(&self) -> bool {
        match &self.state {
            State::Busy(transaction) => transaction.intake.is_continue_owed(),
            _ => false,
        }
    }

    /// Writes the `100 Continue` if the client waits for one.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) {
        if let State::Busy(transaction) = &mut self.state
            && transaction.intake.is_continue_owed()
        {
            transaction.intake.settle_continue();
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Writes the head of the response and decides how to mark the end of its body.
    ///
    /// Omits fields that could break the framing; the return value counts them.
    pub fn start_response<'a, F>(
        &mut self,
        head: &ResponseHead<'a, F>,
        length: BodyLength,
        stamp: &Stamp<'_>,
        out: &mut Vec<u8>,
    ) -> Skipped<'a>
    where
        F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        match &mut self.state {
            State::Busy(transaction) if !transaction.answer.is_started() => {
                transaction.settle_persistence(head.status, length, self.is_stopping);
                let is_last = transaction.why_last().is_some();
                transaction.answer.start(head, length, is_last, stamp, out)
            }
            _ => Skipped::default(),
        }
    }

    /// Writes the bytes that precede a block of `len` bytes of the body. Returns how many bytes of
    /// the block to send and the bytes that follow them. An empty block sends nothing.
    pub fn frame(&mut self, len: usize, out: &mut Vec<u8>) -> Frame {
        match &mut self.state {
            State::Busy(transaction) => transaction.answer.frame(len, out),
            _ => Frame::default(),
        }
    }

    /// Writes the end of the body.
    pub fn finish_response(&mut self, out: &mut Vec<u8>) -> Finish {
        match &mut self.state {
            State::Busy(transaction) => transaction.answer.finish(out),
            _ => Finish::Short,
        }
    }

    /// Returns what to do after the last byte of the response is queued, or the response is
    /// abandoned.
    pub fn next_step(&mut self, now: Instant) -> Step {
        let State::Busy(transaction) = &mut self.state else {
            return self.step();
        };
        if let Some(reason) = transaction.why_closed() {
            return Step::Close(self.close(reason));
        }
        let discard = transaction.intake.discard(&mut self.buffer, &self.limits);
        if discard == Discard::Incomplete {
            self.state = State::Drain(transaction.intake.clone());
        }
        self.after_discard(discard, now);
        self.step()
    }

    /// Accepts no further request: closes an idle connection, and makes a response in progress the
    /// last one. Doesn't wait for a body that is being discarded.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        let reason = match self.state {
            State::Idle { .. } => CloseReason::Stopping,
            State::Drain(_) => CloseReason::BodyUnread,
            _ => return,
        };
        self.close(reason);
    }

    /// Makes the next response, or the one in progress, the last one. An idle connection may begin
    /// a last request until `until`: a client that is sending one at this moment gets its response
    /// instead of a closed connection. Doesn't wait for a body that is being discarded.
    pub fn drain(&mut self, until: Instant) {
        let State::Idle { deadline, .. } = &mut self.state else {
            return self.stop();
        };
        self.is_stopping = true;
        *deadline = Some(deadline.map_or(until, |deadline| deadline.min(until)));
    }

    /// Returns whether the connection is between two requests, with no part of the next one
    /// received.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    /// Returns when to call [`expired`](Self::expired) if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle { deadline, .. } | State::Head { deadline, .. } => *deadline,
            State::Busy(Transaction { intake, .. }) | State::Drain(intake) => intake.deadline(),
            State::Refused(_) | State::Closed(_) => None,
        }
    }

    /// Acts on a deadline that has passed at `now`.
    pub fn expired(&mut self, now: Instant) -> Option<Expiry> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let too_slow = CloseReason::BodyFailed(BodyError::TooSlow);
        match &mut self.state {
            State::Idle { .. } if self.is_stopping => {
                Some(Expiry::Close(self.close(CloseReason::Stopping)))
            }
            State::Idle { .. } => Some(Expiry::Close(self.close(CloseReason::Idle))),
            State::Head { .. } => {
                self.refuse(Rejection::new(408, "the request's head arrives too slowly"));
                Some(Expiry::Request)
            }
            State::Busy(transaction) => {
                transaction
                    .intake
                    .fail(BodyError::TooSlow, &mut self.buffer);
                Some(Expiry::Body)
            }
            State::Drain(_) => Some(Expiry::Close(self.close(too_slow))),
            State::Refused(_) | State::Closed(_) => None,
        }
    }

    /// Returns whether to discard further bytes from the peer unparsed, because the start of the
    /// next request in them is unknown.
    fn is_deaf(&self) -> bool {
        match &self.state {
            State::Busy(transaction) => matches!(
                transaction.why_last(),
                Some(CloseReason::Rejected(_) | CloseReason::BodyFailed(_))
            ),
            State::Refused(_) | State::Closed(_) => true,
            State::Idle { .. } | State::Head { .. } | State::Drain(_) => false,
        }
    }

    /// In Idle, with bytes in the buffer: skips empty lines (RFC 9112 section 2.2), and begins a
    /// head with the first byte that isn't part of one. A lone CR can still become an empty line.
    fn begin_head(&mut self, now: Instant) {
        let State::Idle { newlines_count, .. } = &mut self.state else {
            return;
        };
        while self.buffer.bytes().starts_with(b"\r\n") {
            self.buffer.consume(2);
            *newlines_count += 1;
            if *newlines_count > self.limits.leading_newlines_count {
                return self.refuse(Rejection::bad("too many empty lines"));
            }
        }
        match self.buffer.bytes() {
            b"" => self.buffer.release(),
            b"\r" => {}
            _ => {
                let deadline = now.checked_add(self.limits.head_timeout);
                self.state = State::Head {
                    deadline,
                    scanner: HeadScanner::default(),
                };
            }
        }
    }

    /// In Head: becomes Busy if the head is complete, and Refused if it is invalid.
    fn read_head(&mut self) -> Option<Arc<RequestHead>> {
        let State::Head { scanner, .. } = &mut self.state else {
            return None;
        };
        let bytes = self.buffer.bytes();
        let parsed = match scanner.scan(bytes, &self.limits) {
            Ok(Some(lines)) => {
                Layout::parse(bytes, &lines, &self.limits).map(|layout| (layout, lines.end))
            }
            Ok(None) if self.buffer.is_ended() => Err(Rejection::bad(
                "the connection ends inside the request's head",
            )),
            Ok(None) => return None,
            Err(rejection) => Err(rejection),
        };
        match parsed {
            Ok((layout, end)) => Some(self.begin_transaction(layout, end)),
            Err(rejection) => {
                self.refuse(rejection);
                None
            }
        }
    }

    fn begin_transaction(&mut self, layout: Layout, end: usize) -> Arc<RequestHead> {
        let head = RequestHead::new(self.buffer.take(end), layout);
        self.requests_count += 1;
        let is_limit = self.requests_count >= self.limits.requests_per_connection_count;
        let body_is_here = !self.buffer.is_empty();
        self.state = State::Busy(Transaction::new(
            &head,
            body_is_here,
            is_limit,
            &self.limits,
        ));
        Arc::new(head)
    }

    /// Rejects a request. Keeps its bytes for the log.
    fn refuse(&mut self, rejection: Rejection) {
        self.state = State::Refused(rejection);
    }

    /// In Refused: becomes Busy with the error response, which is the last.
    fn begin_refusal(&mut self, rejection: Rejection) {
        let to_head = self.buffer.bytes().starts_with(b"HEAD ");
        self.state = State::Busy(Transaction::refusal(rejection, to_head, &self.limits));
    }

    /// Sets the state after discarding a part of the body of an answered request.
    fn after_discard(&mut self, discard: Discard, now: Instant) {
        match discard {
            Discard::Incomplete => {
                if let State::Drain(intake) = &mut self.state {
                    intake.wait(now);
                }
            }
            Discard::Done if self.is_stopping => {
                self.close(CloseReason::Stopping);
            }
            Discard::Done => {
                self.state = idle(&self.limits, now);
                self.begin_head(now);
            }
            Discard::TooMuch => {
                self.close(CloseReason::BodyUnread);
            }
            Discard::Failed(error) => {
                self.close(CloseReason::BodyFailed(error));
            }
        }
    }

    fn step(&self) -> Step {
        match self.state {
            State::Closed(reason) => Step::Close(reason),
            State::Drain(_) => Step::Drain,
            _ => Step::NextRequest,
        }
    }

    fn close(&mut self, reason: CloseReason) -> CloseReason {
        self.state = State::Closed(reason);
        self.buffer.release();
        reason
    }
}

fn idle(limits: &Limits, now: Instant) -> State {
    State::Idle {
        deadline: now.checked_add(limits.idle_timeout),
        newlines_count: 0,
    }
}

#[cfg(test)]
mod tests;
