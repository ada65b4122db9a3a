//! Sending queued data, and the ways in which a response and a connection end.

use std::net::Shutdown;
use std::time::Instant;

use super::linger::Linger;
use super::waiting::Moved;
use super::wire::Progress;
use super::{Connection, Phase, Source};
use crate::gateway::{Failure, RequestId, Scheme};
use crate::http1::{CloseReason, Finish, Step};
use crate::server::context::Context;
use crate::server::outbox::Flush;
use crate::server::record::Record;
use crate::server::refusal;
use crate::static_files::Answer;

/// The error text for a request body that did not arrive in time.
const OVERDUE_BODY: &str = "the request's body took too long";

impl Connection {
    pub(super) fn flush(&mut self, cx: &mut Context) -> Progress {
        match self.wire.flush(cx) {
            None | Some(Ok(Flush::Blocked)) => Progress::Stuck,
            Some(Ok(Flush::Empty)) => {
                if let Phase::Answering(Source::Call(waiting)) = &self.phase {
                    waiting.flushed();
                }
                Progress::Made
            }
            Some(Ok(Flush::Enough)) => Progress::Enough,
            Some(Ok(Flush::FileChanged)) => {
                tracing::warn!(
                    "a page was overwritten or truncated while it was sent: connection cut"
                );
                self.wire.outbox.clear();
                self.phase = Phase::Closing(CloseReason::AnswerShort);
                Progress::Made
            }
            Some(Err(_)) => {
                self.abandon(cx, "the client broke the connection");
                Progress::Made
            }
        }
    }

    /// Answers a request at once, without waiting for its body.
    pub(super) fn answer(&mut self, answer: Answer, cx: &mut Context) {
        let answer = self.wire.without_body(answer, cx);
        self.queue(answer, cx);
    }

    /// Appends a complete response to the outbox.
    pub(super) fn queue(&mut self, answer: Answer, cx: &mut Context) {
        if let Some(recorder) = self.wire.recorder() {
            recorder.answer(&answer);
        }
        self.wire.queue(answer, cx);
        self.phase = Phase::Answering(Source::Queued);
    }

    /// Continues after the call of this connection has moved.
    pub(super) fn after(&mut self, moved: Moved, cx: &mut Context) -> Progress {
        match moved {
            Moved::Waits(progress) => return progress,
            Moved::Ended(Finish::Whole) => self.phase = Phase::Answering(Source::Queued),
            Moved::Ended(Finish::Short) => self.answer_short(cx),
            Moved::BodyFailed(error) => {
                // The client receives the error in its body, whatever the handler does about it.
                let answer = cx.error(self.wire.host(), error.status(), error.why());
                self.queue(answer, cx);
            }
            Moved::Cut => {
                self.leave_call(cx);
                self.phase = Phase::Closing(CloseReason::AnswerUnfinished);
            }
        }
        Progress::Made
    }

    /// Handles a body that is shorter than declared (B3).
    fn answer_short(&mut self, cx: &Context) {
        const WHY: &str = "the body is shorter than its Content-Length: connection cut";
        if let Some(record) = &self.wire.record {
            let (handler, request) = (record.handler_name(), record.request());
            tracing::error!(handler, "{WHY} ({request})");
        }
        self.violated(WHY, cx);
        self.phase = Phase::Closing(CloseReason::AnswerShort);
    }

    /// Handles the failure of the call that this connection waits for. `request` is the identifier
    /// of the request in the error log, and then also in the access log.
    pub(in crate::server) fn call_failed(
        &mut self,
        failure: &Failure,
        request: &RequestId,
        cx: &mut Context,
    ) {
        if let Some(record) = &mut self.wire.record {
            record.id = Some(request.clone());
        }
        if let Phase::Answering(Source::Replay(_)) = &self.phase {
            return self.replay_failed(failure, request, cx);
        }
        let Phase::Answering(Source::Call(waiting)) = &mut self.phase else {
            return;
        };
        match waiting.take_output(&mut self.wire, cx) {
            Moved::Waits(_) if waiting.transfer.is_head_sent() => {
                self.phase = Phase::Closing(CloseReason::AnswerUnfinished);
            }
            Moved::Waits(_) => {
                self.wire.http.leave_body();
                let answer = self.failure(failure, request.as_str(), cx);
                self.queue(answer, cx);
            }
            moved => {
                self.after(moved, cx);
            }
        }
    }

    /// Ends the response after its last byte is sent.
    pub(super) fn end_answer(&mut self, cx: &mut Context) {
        self.log(cx);
        self.phase = match self.wire.http.next_step(cx.now) {
            Step::NextRequest | Step::Drain => Phase::Reading,
            Step::Close(reason) => Phase::Closing(reason),
        };
    }

    /// Ends the connection in the way its reason requires, after everything is sent.
    pub(super) fn close(&mut self, reason: CloseReason, now: Instant) -> Progress {
        if !reason.cuts_answer() && self.wire.transport.close() {
            // The close_notify must be sent first.
            return Progress::Made;
        }
        self.phase = if reason.cuts_answer() {
            self.wire.reset();
            Phase::Closed
        } else if reason.lingers()
            && self
                .wire
                .transport
                .socket()
                .shutdown(Shutdown::Write)
                .is_ok()
        {
            Phase::Lingering(Box::new(Linger::new(reason, now)))
        } else {
            Phase::Closed
        };
        Progress::Made
    }

    /// Abandons the client: its response can't reach it.
    pub(super) fn abandon(&mut self, cx: &mut Context, why: &'static str) {
        self.leave_call(cx);
        if let Some(record) = &mut self.wire.record {
            record.cut = Some(why);
        }
        self.wire.outbox.clear();
        self.phase = Phase::Closed;
    }

    /// Ends the event stream of a handler, if this is one, as if the handler had ended it. Its
    /// client discards an event that is not complete. A compressed one is cut.
    pub(in crate::server) fn end_stream(&mut self, cx: &mut Context) {
        let Phase::Answering(Source::Call(waiting)) = &mut self.phase else {
            return;
        };
        if !waiting.is_stream {
            return;
        }
        cx.calls.leave(waiting.call);
        let moved = match waiting.coding.is_plain() {
            true => Moved::Ended(self.wire.finish_response(cx)),
            false => Moved::Cut,
        };
        self.after(moved, cx);
    }

    /// Notifies the running handler, if any, that the client has gone.
    pub(super) fn leave_call(&self, cx: &mut Context) {
        match &self.phase {
            Phase::Answering(Source::Call(waiting)) => cx.calls.leave(waiting.call),
            Phase::Answering(Source::Replay(replay)) => cx.calls.leave(replay.call),
            _ => {}
        }
    }

    /// Rejects the connection because its address is at its limit, and closes it. TLS has no
    /// message for that before a handshake, and a handshake would let the client keep the
    /// connection.
    pub(in crate::server) fn refuse(&mut self, cx: &mut Context) {
        if self.wire.transport.scheme() == Scheme::Https {
            self.phase = Phase::Closed;
            return;
        }
        let mut record = Box::new(Record::rejected(b"-", cx.now));
        record.status = 503;
        let id = record.identify();
        self.wire.record = Some(record);
        let mut answer = Vec::new();
        refusal::answer(&mut answer, &cx.stamp(), &id);
        let length = answer.len();
        self.wire.outbox.push(answer, length, &mut cx.spare);
        self.phase = Phase::Closing(CloseReason::Refused);
    }

    /// Ends a request that has exceeded its total time. If the response has not started, sends an
    /// error, which blames the client while its body is outstanding. A started response is cut.
    pub(super) fn overdue(&mut self, cx: &mut Context) {
        if let Some(record) = &mut self.wire.record {
            record.deadline = None;
        }
        let (status, why) = match &self.phase {
            Phase::Answering(Source::Call(waiting)) if !waiting.transfer.is_head_sent() => {
                cx.calls.leave(waiting.call);
                if waiting.transfer.is_body_done() {
                    let why = match &mut self.wire.record {
                        Some(record) => {
                            let id = record.identify();
                            format!("The request took too long: request {id}.")
                        }
                        None => "The request took too long.".to_owned(),
                    };
                    (504, why)
                } else {
                    (408, OVERDUE_BODY.to_owned())
                }
            }
            Phase::Answering(Source::Replay(_)) => return self.replay_overdue(cx),
            _ => {
                self.abandon(cx, "the request took too long");
                self.wire.reset();
                return;
            }
        };
        // The rest of the body, if any, is not read either.
        self.wire.http.stop();
        let answer = cx.error(self.wire.host(), status, &why);
        self.queue(answer, cx);
    }

    /// Writes the access log line of a request that has none yet.
    pub(in crate::server) fn log(&mut self, cx: &mut Context) {
        if let Some(mut record) = self.wire.record.take() {
            cx.log(record.client.unwrap_or(self.peer), &record);
            if let Some(recorder) = record.recorder.take() {
                recorder.finish(record.end());
            }
        }
    }
}
