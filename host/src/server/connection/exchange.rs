//! Responses of handlers: transfers body data in, and head and blocks out, as far as both sides
//! accept them.

use super::{Connection, Phase, Progress, Source};
use crate::gateway::{Failure, Head, InputError, Output};
use crate::http1::{BodyLength, BodyProgress, CloseReason, Finish, ResponseHead};
use crate::server::context::Context;

impl Connection {
    /// Transfers body data to the handler and blocks to the client, as far as both accept them.
    pub(super) fn exchange(&mut self, cx: &mut Context) -> Progress {
        let fed = self.feed(cx);
        let drained = self.take_output(cx);
        if fed == Progress::Made { fed } else { drained }
    }

    /// Passes the received part of the request body to the handler.
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
                    // The client receives the error in its body, whatever the handler does about
                    // it.
                    let call = waiting.call;
                    cx.calls.leave(call);
                    let answer = cx.error(error.status(), error.why());
                    self.queue(answer, cx);
                }
                Progress::Made
            }
        }
    }

    /// Takes the handler's output and appends it to the outbox.
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

    /// Appends the handler's output to the outbox, unchanged.
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
            // Blocks that are not sent at all (B5) count as sent when taken.
            waiting.exchange.sent();
        }
        progress
    }

    /// Appends a block to the outbox, with framing.
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

    /// Ends the response after the handler's last block.
    pub(super) fn end_output(&mut self, cx: &mut Context) {
        if let Phase::Answering(Source::Call(waiting)) = &self.phase {
            // The call may still run its `close`; the connection doesn't wait for that.
            cx.calls.detach(waiting.call);
        }
        match self.http.finish_response(self.outbox.tail(&mut cx.spare)) {
            Finish::Whole => self.phase = Phase::Answering(Source::Queued),
            Finish::Short => self.answer_short(),
        }
    }

    /// Handles a body that is shorter than declared (B3).
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

    /// Handles the failure of the call that this connection waits for. `request` is the name of the
    /// request in the error log, and then also in the access log.
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
