//! One HTTP/1.x connection, seen from the server, without its socket: every transition is in here.
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
//!   Idle ─▶ Head       a byte came that is no part of an empty line
//!   Idle ─▶ Refused    too many empty lines came
//!   Idle ─▶ Closed     the peer ended its side, the deadline passed, or the server stops
//!   Head ─▶ Busy       next_request: the head is whole and good
//!   Head ─▶ Refused    next_request: it is bad, or cut short; or the deadline passed
//!   Refused ─▶ Busy    next_request said so: what is answered now is the last
//!   Busy ─▶ Idle       next_step: the answer is whole, the body is over, and it isn't the last
//!   Busy ─▶ Drain      next_step: likewise, but the rest of the body has to come first
//!   Busy ─▶ Closed     next_step: it is the last, or the answer isn't whole, or the body isn't
//!                      worth reading or can't be read to its end
//!   Drain ─▶ Idle      next_request: the body is over
//!   Drain ─▶ Closed    next_request: too much of it came, or it is broken; or the deadline passed
//! ```
//!
//! While it is busy there is a transaction: one request and its answer. Two things go on in it side
//! by side, each with states of its own: the intake of the request's body, and the answer. Requests
//! that were sent ahead wait in the buffer, unparsed, until the transaction before them is over; so
//! answers are in order by construction. After a framing error no byte is parsed any more.
//!
//! The order of calls, by whoever owns the socket:
//!
//! - `receive` what the socket has, while `wants_bytes`, and `receive_end` at its end;
//! - `next_request` until there is none. A request or a rejection is answered: `read_body` as the
//!   handler wants it, `start_response`, `frame` for each block, `finish_response`, `next_step`;
//! - `expired`, when `deadline` has passed.
//!
//! A call that is out of order does nothing: it writes nothing, and reads nothing.

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

/// The longest part of a rejected request's first line that is worth a line in a log.
const REJECTED_LINE_BYTES: usize = 256;

/// One HTTP/1.x connection: bytes and the time go in, requests, bytes to send and a deadline come
/// out.
#[derive(Debug)]
pub struct Connection {
    limits: Arc<Limits>,
    buffer: ReceiveBuffer,
    state: State,
    requests_count: u32,
    is_stopping: bool,
}

/// Where a connection is. The graph is on top of this file.
#[derive(Debug)]
enum State {
    /// Between two requests. Nothing of the next one is here, but for empty lines.
    Idle {
        deadline: Option<Instant>,
        newlines_count: usize,
    },
    /// A part of a request's head is here.
    Head {
        deadline: Option<Instant>,
        scanner: HeadScanner,
    },
    /// A request can't be taken, and `next_request` is to say so.
    Refused(Rejection),
    /// A request is being answered.
    Busy(Transaction),
    /// A request was answered, and the rest of its body is thrown away.
    Drain(Intake),
    /// No request is read any more.
    Closed(CloseReason),
}

impl Connection {
    /// A connection that was accepted at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        Self {
            state: idle(&limits, now),
            limits,
            buffer: ReceiveBuffer::default(),
            requests_count: 0,
            is_stopping: false,
        }
    }

    /// Takes bytes that the peer sent.
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

    /// Takes note that the peer ended its side. What it sent before is still answered.
    pub fn receive_end(&mut self) {
        self.buffer.end();
    }

    /// Whether bytes should be read from the peer now. No while as many as
    /// `Limits::read_ahead_bytes` wait for a request to be answered.
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

    /// The next request, once it is here and the one before is answered.
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

    /// The first line of the request that was rejected, as far as it came and is worth a line in a
    /// log: any bytes. Empty when no rejected request is being answered.
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

    /// Reads at most `max` bytes of the request's body, decoded, to the end of `into`.
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

    /// Reads what is here of the request's body and throws it away: before an answer that doesn't
    /// depend on the body, but whose status a broken one should change. Doesn't ask the client to
    /// send it, and doesn't wait for it: what is [incomplete](Discard::Incomplete) is read when the
    /// answer is over.
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

    /// Before an answer that leaves the body, or what is left of it, unread: makes the answer the
    /// last, and so has its head say it, where the body may be too long to throw away. A client
    /// that learns of it only by the connection's end may have sent the next request by then (RFC
    /// 9112 section 9.6).
    pub fn leave_body(&mut self) {
        if let State::Busy(transaction) = &mut self.state
            && transaction.intake.may_be_too_much()
            && !transaction.intake.is_continue_owed()
        {
            transaction.last.get_or_insert(CloseReason::BodyUnread);
        }
    }

    /// Whether the client waits for a `100 Continue` (RFC 9110 section 10.1.1): it asked for one,
    /// and neither a byte of its body nor the answer has been sent.
    pub fn continue_owed(&self) -> bool {
        match &self.state {
            State::Busy(transaction) => transaction.intake.is_continue_owed(),
            _ => false,
        }
    }

    /// Writes the `100 Continue`, if it is owed.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) {
        if let State::Busy(transaction) = &mut self.state
            && transaction.intake.is_continue_owed()
        {
            transaction.intake.settle_continue();
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// Writes the head of the answer, and decides how the end of its body is told.
    ///
    /// Fields that could break the framing are not sent; they are counted in what is returned.
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

    /// Writes what goes before a block of `len` bytes of the body, and says how many of them may go
    /// out and what follows them. An empty block sends nothing.
    pub fn frame(&mut self, len: usize, out: &mut Vec<u8>) -> Frame {
        match &mut self.state {
            State::Busy(transaction) => transaction.answer.frame(len, out),
            _ => Frame::default(),
        }
    }

    /// Writes what ends the body.
    pub fn finish_response(&mut self, out: &mut Vec<u8>) -> Finish {
        match &mut self.state {
            State::Busy(transaction) => transaction.answer.finish(out),
            _ => Finish::Short,
        }
    }

    /// What to do once the answer's last byte is queued, or the answer is given up.
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

    /// Takes no further request: closes a connection that is between two, and makes the answer that
    /// is on its way the last one. A body that is only thrown away is not waited for.
    pub fn stop(&mut self) {
        self.is_stopping = true;
        let reason = match self.state {
            State::Idle { .. } => CloseReason::Stopping,
            State::Drain(_) => CloseReason::BodyUnread,
            _ => return,
        };
        self.close(reason);
    }

    /// Whether the connection is between two requests, with nothing of the next one here.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle { .. })
    }

    /// When [`expired`](Self::expired) has to be called, if nothing happens until then.
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

    /// Whether what the peer sends is dropped unseen: where a request begins in it is unknown.
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

    /// Idle, with bytes in the buffer: skips empty lines (RFC 9112 section 2.2), and begins a head
    /// with the first byte that is none. A CR alone may become an empty line yet.
    fn begin_head(&mut self, now: Instant) {
        let State::Idle { newlines_count, .. } = &mut self.state else {
            return;
        };
        while self.buffer.bytes().starts_with(b"\r\n") {
            self.buffer.consume(2);
            *newlines_count += 1;
            if *newlines_count > self.limits.leading_newlines_count {
                return self.refuse(Rejection::bad("there are too many empty lines"));
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

    /// Head: is busy with the request if its head is whole, and refuses it if it is bad.
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

    /// A request can't be taken. Its bytes are kept for the log.
    fn refuse(&mut self, rejection: Rejection) {
        self.state = State::Refused(rejection);
    }

    /// Refused: is busy with the answer that says so, the last.
    fn begin_refusal(&mut self, rejection: Rejection) {
        let to_head = self.buffer.bytes().starts_with(b"HEAD ");
        self.state = State::Busy(Transaction::refusal(rejection, to_head, &self.limits));
    }

    /// Where the rest of an answered request's body leads.
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
