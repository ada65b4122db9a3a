//! Sending queued data, and the ways in which a response and a connection end.

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

/// The error text for a request body that did not arrive in time.
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
        // Data that TLS held back counts when it leaves.
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
                    "a page was overwritten or truncated while it was sent: connection cut"
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

    /// Returns whether no data is waiting to be sent.
    pub(super) fn all_sent(&self) -> bool {
        self.outbox.is_empty() && self.transport.waiting_bytes() == 0
    }

    /// Ends the response after its last byte is sent.
    pub(super) fn end_answer(&mut self, cx: &mut Context) {
        self.log(cx);
        self.phase = match self.http.next_step(cx.now) {
            Step::NextRequest | Step::Drain => Phase::Reading,
            Step::Close(reason) => Phase::Closing(reason),
        };
    }

    /// Ends the connection in the way its reason requires, after everything is sent.
    pub(super) fn close(&mut self, reason: CloseReason, now: Instant) -> Progress {
        if !reason.cuts_answer() && self.transport.close() {
            // The close_notify must be sent first.
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

    /// Resets the connection, where an orderly close would make a truncated response look complete.
    pub(super) fn reset(&self) {
        let socket = socket2::SockRef::from(self.transport.socket());
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!("a connection was closed, not reset: {error}");
        }
    }

    /// Abandons the client: its response can't reach it.
    pub(super) fn abandon(&mut self, cx: &mut Context, why: &'static str) {
        self.leave_call(cx);
        if let Some(record) = &mut self.record {
            record.cut = Some(why);
        }
        self.outbox.clear();
        self.phase = Phase::Closed;
    }

    /// Notifies the running handler, if any, that the client has gone.
    pub(super) fn leave_call(&self, cx: &mut Context) {
        if let Phase::Answering(Source::Call(waiting)) = &self.phase {
            cx.calls.leave(waiting.call);
        }
    }

    /// Rejects the connection because its address is at its limit, and closes it. TLS has no
    /// message for that before a handshake, and a handshake would let the client keep the
    /// connection.
    pub(in crate::server) fn refuse(&mut self, cx: &mut Context) {
        if self.transport.scheme() == Scheme::Https {
            self.phase = Phase::Closed;
            return;
        }
        let mut record = Box::new(Record::rejected(b"-", cx.now));
        record.status = 503;
        self.record = Some(record);
        let mut answer = Vec::new();
        refusal::answer(&mut answer, &cx.stamp());
        let length = answer.len();
        self.outbox.push(answer, length, &mut cx.spare);
        self.phase = Phase::Closing(CloseReason::Refused);
    }

    /// Ends a request that has exceeded its total time. If the response has not started, sends an
    /// error, which blames the client while its body is outstanding. A started response is cut.
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
        // The rest of the body, if any, is not read either.
        self.http.stop();
        let answer = cx.error(status, why);
        self.queue(answer, cx);
    }

    /// Writes the access log line of a request that has none yet.
    pub(in crate::server) fn log(&mut self, cx: &mut Context) {
        if let Some(record) = self.record.take() {
            cx.log(record.client.unwrap_or(self.peer), &record);
        }
    }
}
