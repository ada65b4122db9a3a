//! One HTTP/1.1 connection, seen from the server, without its socket.

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use super::body::{BodyProgress, Discard};
use super::error::{CloseReason, Rejection};
use super::head::RequestHead;
use super::limits::Limits;
use super::response::{BodyLength, Finish, Frame, ResponseHead, Skipped, Stamp};

/// What comes next on a connection.
#[derive(Debug)]
pub enum Incoming {
    /// A request to answer.
    Request(Arc<RequestHead>),
    /// A request that can't be taken. Answer with its status as with a request's, then close.
    Rejected(Rejection),
    /// No further request will come. Nothing is to be answered.
    Closed(CloseReason),
}

/// What to do after an answer's last byte was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Ask for the next request: it may be here already.
    NextRequest,
    /// Go on reading, and asking for the next request: the rest of this one's body is in between,
    /// and is thrown away.
    Drain,
    /// Close, once everything is written.
    Close(CloseReason),
}

/// What a deadline that passed has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Expiry {
    /// Close without a word.
    Close(CloseReason),
    /// `next_request` has a rejection (408).
    Request,
    /// `read_body` has a failure (408).
    Body,
}

/// One HTTP/1.1 connection: bytes and the time go in, requests, bytes to send and a deadline come
/// out.
pub struct Connection {
    limits: Arc<Limits>,
    deadline: Option<Instant>,
}

impl Connection {
    /// A connection that was accepted at `now`.
    pub fn new(limits: Arc<Limits>, now: Instant) -> Self {
        let _: Duration = limits.idle_timeout;
        Self {
            limits,
            deadline: Some(now),
        }
    }

    /// Takes bytes that the peer sent.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        let _ = (bytes, now);
    }

    /// Takes note that the peer ended its side. What it sent before is still answered.
    pub fn receive_end(&mut self) {}

    /// Whether bytes should be read from the peer now. No while enough of them wait in memory.
    pub fn wants_bytes(&self) -> bool {
        true
    }

    /// The next request, once it is here and the one before is answered.
    pub fn next_request(&mut self, now: Instant) -> Option<Incoming> {
        let _ = now;
        None
    }

    /// The first line of the request that was rejected, as far as it came and is worth a line of a
    /// log. Any bytes. Empty when there is none.
    pub fn rejected_line(&self) -> &[u8] {
        b""
    }

    /// Reads at most `max` bytes of the request's body, decoded, to the end of `into`.
    pub fn read_body(&mut self, max: usize, into: &mut Vec<u8>, now: Instant) -> BodyProgress {
        let _ = (max, into, now);
        BodyProgress::End
    }

    /// Reads what has arrived of the request's body and throws it away: for an answer that doesn't
    /// depend on it, but whose status a broken body should change. Does not ask the client for it.
    pub fn discard_body(&mut self, now: Instant) -> Discard {
        let _ = now;
        Discard::Done
    }

    /// Whether the client waits for a `100 Continue` (RFC 9110 section 10.1.1): it asked to, and no
    /// byte of its body has come.
    pub fn continue_owed(&self) -> bool {
        false
    }

    /// Writes the `100 Continue`, if it is owed.
    pub fn send_continue(&mut self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// Writes the head of the answer, and decides how its body is framed.
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
        let _ = (head, length, stamp, out);
        Skipped::default()
    }

    /// Writes what goes before a block of `len` bytes of the body. An empty block sends nothing.
    pub fn frame(&mut self, len: usize, out: &mut Vec<u8>) -> Frame {
        let _ = (len, out);
        Frame::default()
    }

    /// Writes what ends the body.
    pub fn finish_response(&mut self, out: &mut Vec<u8>) -> Finish {
        let _ = out;
        Finish::Whole
    }

    /// What to do once the answer's last byte is queued; also when the answer is given up.
    pub fn next_step(&mut self, now: Instant) -> Step {
        let _ = now;
        Step::NextRequest
    }

    /// Takes no further request: closes a connection that is between two, and makes the answer
    /// that is on its way the last one.
    pub fn stop(&mut self) {}

    /// Whether the connection is between two requests, with nothing of the next one here.
    pub fn is_idle(&self) -> bool {
        true
    }

    /// When [`expired`](Self::expired) has to be called, if the peer does nothing until then.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Acts on a deadline that has passed at `now`.
    pub fn expired(&mut self, now: Instant) -> Option<Expiry> {
        let _ = (now, &self.limits);
        None
    }
}
