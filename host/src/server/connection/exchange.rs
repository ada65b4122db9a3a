//! Answers that a handler gives: body bytes go in, head and blocks come out, as far as both sides
//! can take them.

use super::{Connection, Phase, Progress, Source};
use crate::gateway::{Failure, Head, InputError, Output};
use crate::http1::{BodyLength, BodyProgress, CloseReason, Finish, ResponseHead};
use crate::server::context::Context;

impl Connection {
    /// Carries body bytes to the handler and blocks to the client, as far as both can take them.
    pub(super) fn exchange(&mut self, cx: &mut Context) -> Progress {
        let fed = self.feed(cx);
        let drained = self.take_output(cx);
        if fed == Progress::Made { fed } else { drained }
    }

    /// Hands over what has arrived of the request's body.
    pub(super) fn feed(&mut self, cx: &mut Context) -> Progress {
        let Phase::Answering(Source::Call(waiting)) = &mut self.phase else {
            return Progress::Stuck;
        };
        if waiting.body_done {
            return Progress::Stuck;
        }
        if waiting.exchange.body_awaited() && self.http.continue_owed() {
            self.http.send_continue(self.outbox.tail(&mut cx.spare));
        }
        let room = waiting.exchange.body_room();
        if room == 0 {
            return Progress::Stuck;
        }
        let http = &mut self.http;
        match waiting
            .exchange
            .push_body(|into| http.read_body(room, into, cx.now))
        {
            BodyProgress::Incomplete => Progress::Stuck,
            BodyProgress::Data => Progress::Made,
            BodyProgress::End => {
                waiting.body_done = true;
                waiting.exchange.end_body(Ok(()));
                Progress::Made
            }
            BodyProgress::Failed(error) => {
                waiting.body_done = true;
                waiting.exchange.end_body(Err(InputError::from(error)));
                if !waiting.head_sent {
                    // The client is told what is wrong with its body, whatever the handler makes
                    // of it.
                    let call = waiting.call;
                    cx.calls.leave(call);
                    let answer = cx.error(error.status(), error.why());
                    self.queue(answer, cx);
                }
                Progress::Made
            }
        }
    }

    /// Takes what the handler has given, and puts it into the outbox.
    pub(super) fn take_output(&mut self, cx: &mut Context) -> Progress {
        let Phase::Answering(Source::Call(waiting)) = &mut self.phase else {
            return Progress::Stuck;
        };
        let output = waiting.exchange.take_output();
        if waiting.coding.may_change() {
            return self.take_coded(output, cx);
        }
        self.put(output, cx)
    }

    /// Puts what the handler has given into the outbox, as it is.
    pub(super) fn put(&mut self, output: Output, cx: &mut Context) -> Progress {
        let Phase::Answering(Source::Call(waiting)) = &mut self.phase else {
            return Progress::Stuck;
        };
        let mut progress = Progress::Stuck;
        if let Some(head) = output.head {
            waiting.head_sent = true;
            self.send_head(&head, cx);
            progress = Progress::Made;
        }
        for block in output.blocks {
            self.put_block(block, cx);
            progress = Progress::Made;
        }
        if output.ended {
            self.end_output(cx);
            progress = Progress::Made;
        } else if self.all_sent()
            && let Phase::Answering(Source::Call(waiting)) = &self.phase
        {
            // Blocks of which nothing is to be sent (B5) have left as soon as they were taken.
            waiting.exchange.sent();
        }
        progress
    }

    /// Puts a block into the outbox, framed.
    pub(super) fn put_block(&mut self, block: Vec<u8>, cx: &mut Context) {
        let frame = self
            .http
            .frame(block.len(), self.outbox.tail(&mut cx.spare));
        if frame.take < block.len()
            && let Some(record) = &mut self.record
        {
            record.note_overlong();
        }
        self.outbox.push(block, frame.take, &mut cx.spare);
        if !frame.suffix.is_empty() {
            self.outbox
                .tail(&mut cx.spare)
                .extend_from_slice(frame.suffix);
        }
    }

    pub(super) fn send_head(&mut self, head: &Head, cx: &mut Context) {
        if let Phase::Answering(Source::Call(waiting)) = &self.phase
            && !waiting.body_done
            && waiting.exchange.leaves_body()
        {
            self.http.leave_body();
        }
        let fields = head
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()));
        let length = head.length.map_or(BodyLength::Unknown, BodyLength::Known);
        let response = ResponseHead {
            status: head.status,
            reason: &head.reason,
            fields,
        };
        self.start_response(&response, length, cx);
    }

    /// The handler has given its last block.
    pub(super) fn end_output(&mut self, cx: &mut Context) {
        if let Phase::Answering(Source::Call(waiting)) = &self.phase {
            // It may still have its `close` to run; nobody waits for that.
            cx.calls.detach(waiting.call);
        }
        match self.http.finish_response(self.outbox.tail(&mut cx.spare)) {
            Finish::Whole => self.phase = Phase::Answering(Source::Queued),
            Finish::Short => self.answer_short(),
        }
    }

    /// The handler has given less than it promised (B3).
    pub(super) fn answer_short(&mut self) {
        if let Some(record) = &self.record {
            tracing::error!(
                handler = record.handler_name(),
                "the body is shorter than its Content-Length: connection cut ({})",
                record.request()
            );
        }
        self.phase = Phase::Closing(CloseReason::AnswerShort);
    }

    /// The call that this connection waits for has ended without a whole answer.
    /// `request` is how the error log names it, and so does the access log then.
    pub(in crate::server) fn call_failed(
        &mut self,
        failure: &Failure,
        request: &str,
        cx: &mut Context,
    ) {
        if let Some(record) = &mut self.record {
            record.failed = Some(request.into());
        }
        self.take_output(cx);
        let Phase::Answering(Source::Call(waiting)) = &self.phase else {
            return;
        };
        if waiting.head_sent {
            self.phase = Phase::Closing(CloseReason::AnswerUnfinished);
            return;
        }
        self.http.leave_body();
        let answer = cx.failure(failure);
        self.queue(answer, cx);
    }
}
