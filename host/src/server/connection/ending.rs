//! Sending what waits to be sent, and the ways in which an answer and a connection end.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::linger::Linger;
use super::{Connection, Phase, Progress, Source};
use crate::gateway::Scheme;
use crate::http1::{CloseReason, Step};
use crate::server::context::Context;
use crate::server::outbox::Flush;
use crate::server::record::Record;
use crate::server::refusal;
use crate::server::transport::Workspace;

/// What a client is told whose request's body was not here in time.
const OVERDUE_BODY: &str = "the request's body took too long";

impl Connection {
    pub(super) fn flush(&mut self, cx: &mut Context) -> Progress {
        if self.all_sent() || !self.writable {
            return Progress::Stuck;
        }
        let mut sent = 0;
        let mut work = Workspace {
            scratch: &mut cx.scratch,
            sealed: &mut cx.sealed,
        };
        let waiting = self.transport.waiting_bytes();
        let result = self
            .outbox
            .flush(&mut self.transport, &mut cx.spare, &mut work, &mut sent);
        if let Some(record) = &mut self.record {
            record.bytes += sent;
        }
        // What TLS held back counts when it leaves.
        let left = waiting.saturating_sub(self.transport.waiting_bytes()) as u64;
        if sent.max(left) > 0 {
            let allowance = cx.settings.limits.write_allowance();
            self.patience.moved(sent.max(left), cx.now, allowance);
        }
        match result {
            Ok(Flush::Empty) => {
                if let Phase::Answering(Source::Call(waiting)) = &self.phase
                    && waiting.coding.is_idle()
                {
                    waiting.exchange.sent();
                }
                Progress::Made
            }
            Ok(Flush::Enough) => Progress::Enough,
            Ok(Flush::Blocked) => {
                self.writable = false;
                self.patience.wait(cx.now);
                Progress::Stuck
            }
            Ok(Flush::FileChanged) => {
                tracing::warn!(
                    "a page was written over, or became shorter, while it was sent: connection cut"
                );
                self.outbox.clear();
                self.phase = Phase::Closing(CloseReason::AnswerShort);
                Progress::Made
            }
            Err(_) => {
                self.abandon(cx, "the client broke the connection");
                Progress::Made
            }
        }
    }

    /// Whether nothing waits to be sent.
    pub(super) fn all_sent(&self) -> bool {
        self.outbox.is_empty() && self.transport.waiting_bytes() == 0
    }

    /// The last byte of an answer has left.
    pub(super) fn end_answer(&mut self, cx: &mut Context) {
        self.log(cx);
        self.phase = match self.http.next_step(cx.now) {
            Step::NextRequest | Step::Drain => Phase::Reading,
            Step::Close(reason) => Phase::Closing(reason),
        };
    }

    /// Ends the connection as its reason asks for, now that everything has been sent.
    pub(super) fn close(&mut self, reason: CloseReason, now: Instant) -> Progress {
        if !reason.cuts_answer() && self.transport.close() {
            // Its last word has to leave yet.
            return Progress::Made;
        }
        self.phase = if reason.cuts_answer() {
            self.reset();
            Phase::Closed
        } else if reason.lingers() && self.transport.socket().shutdown(Shutdown::Write).is_ok() {
            Phase::Lingering(Box::new(Linger::new(reason, now)))
        } else {
            Phase::Closed
        };
        Progress::Made
    }

    /// Has the client see a broken connection, where an orderly end would pass for a whole answer.
    pub(super) fn reset(&self) {
        let socket = socket2::SockRef::from(self.transport.socket());
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!("a connection was closed, not reset: {error}");
        }
    }

    /// Gives up on the client: its answer can't reach it.
    pub(super) fn abandon(&mut self, cx: &mut Context, why: &'static str) {
        self.leave_call(cx);
        if let Some(record) = &mut self.record {
            record.cut = Some(why);
        }
        self.outbox.clear();
        self.phase = Phase::Closed;
    }

    /// Tells a handler that is at work for this connection that its client has gone.
    pub(super) fn leave_call(&self, cx: &mut Context) {
        if let Phase::Answering(Source::Call(waiting)) = &self.phase {
            cx.calls.leave(waiting.call);
        }
    }

    /// Tells the client that its address has its number of connections, and closes. Under TLS there
    /// is no word for that before a handshake, which would be a way to keep the connection.
    pub(in crate::server) fn refuse(&mut self, cx: &mut Context) {
        if self.transport.scheme() == Scheme::Https {
            self.phase = Phase::Closed;
            return;
        }
        let mut record = Box::new(Record::rejected(b"-", cx.now));
        record.status = 503;
        self.record = Some(record);
        let mut answer = Vec::new();
        refusal::answer(&mut answer, cx);
        let length = answer.len();
        self.outbox.push(answer, length, &mut cx.spare);
        self.phase = Phase::Closing(CloseReason::Refused);
    }

    /// The time for the whole request is up. An answer that hasn't begun is an error's: the
    /// client's where its body is still being waited for. One that has is cut.
    pub(super) fn overdue(&mut self, cx: &mut Context) {
        if let Some(record) = &mut self.record {
            record.deadline = None;
        }
        let (status, why) = match &self.phase {
            Phase::Answering(Source::Call(waiting)) if !waiting.head_sent => {
                cx.calls.leave(waiting.call);
                if waiting.body_done {
                    (504, "The request took too long.")
                } else {
                    (408, OVERDUE_BODY)
                }
            }
            _ => {
                self.abandon(cx, "the request took too long");
                self.reset();
                return;
            }
        };
        // The rest of its body, if there is one, is not waited for either.
        self.http.stop();
        let answer = cx.error(status, why);
        self.queue(answer, cx);
    }

    /// Writes the access log's line, if a request is still without one.
    pub(in crate::server) fn log(&mut self, cx: &mut Context) {
        if let Some(record) = self.record.take() {
            cx.log(record.client.unwrap_or(self.peer), &record);
        }
    }
}
