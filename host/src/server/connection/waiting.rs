//! The phase in which a handler answers: transfers body data in, and head and blocks out, as far as
//! both sides accept them.

use std::sync::Arc;

use super::coded::Coding;
use super::wire::{Progress, Wire};
use crate::gateway::{Exchange, Head, Output};
use crate::http1::{BodyError, BodyProgress, Finish};
use crate::server::calls::CallId;
use crate::server::context::Context;
use crate::transfer::Transfer;

/// A call that a connection waits for.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) call: CallId,
    pub(super) transfer: Transfer,
    pub(super) coding: Coding,
    /// The response is an event stream, whose client reconnects when it ends.
    pub(super) is_stream: bool,
}

/// What a connection does after its call has moved.
pub(super) enum Moved {
    /// Continues to wait for the call.
    Waits(Progress),
    /// Sends the rest of the response, which is in the outbox.
    Ended(Finish),
    /// Sends the error of the request's body as the response.
    BodyFailed(BodyError),
    /// Abandons the response, because compression has run out of memory.
    Cut,
}

impl Waiting {
    pub(super) fn new(
        call: CallId,
        exchange: Arc<Exchange>,
        has_body: bool,
        coding: Coding,
    ) -> Self {
        Self {
            call,
            transfer: Transfer::new(exchange, has_body),
            coding,
            is_stream: false,
        }
    }

    /// Transfers body data to the handler and blocks to the client, as far as both accept them.
    pub(super) fn exchange(&mut self, wire: &mut Wire, cx: &mut Context) -> Moved {
        let fed = match self.feed(wire, cx) {
            Moved::Waits(progress) => progress,
            failed => return failed,
        };
        match self.take_output(wire, cx) {
            Moved::Waits(Progress::Stuck) => Moved::Waits(fed),
            moved => moved,
        }
    }

    /// Passes the received part of the request body to the handler.
    fn feed(&mut self, wire: &mut Wire, cx: &mut Context) -> Moved {
        if self.transfer.is_body_done() {
            return Moved::Waits(Progress::Stuck);
        }
        let Wire {
            http,
            outbox,
            record,
            ..
        } = wire;
        let (mut overhead_bytes, mut recorder) = match record.as_deref_mut() {
            Some(record) => (
                Some(&mut record.overhead_bytes),
                record.recorder.as_deref_mut(),
            ),
            None => (None, None),
        };
        let send_continue = |http: &mut crate::http1::Connection| {
            let tail = outbox.tail(&mut cx.spare);
            let before_bytes = tail.len();
            http.send_continue(tail);
            if let Some(overhead_bytes) = &mut overhead_bytes {
                **overhead_bytes += (tail.len() - before_bytes) as u64;
            }
        };
        let see = |bytes: &[u8]| {
            if let Some(recorder) = &mut recorder {
                recorder.body(bytes);
            }
        };
        let progress = self.transfer.feed(http, cx.now, send_continue, see);
        if let (BodyProgress::End, Some(recorder)) = (progress, recorder) {
            recorder.body_ended();
        }
        if let Some(record) = record {
            record.request_body_bytes = self.transfer.body_bytes();
        }
        match progress {
            BodyProgress::Incomplete => Moved::Waits(Progress::Stuck),
            BodyProgress::Failed(error) if !self.transfer.is_head_sent() => {
                cx.calls.leave(self.call);
                Moved::BodyFailed(error)
            }
            BodyProgress::Data | BodyProgress::End | BodyProgress::Failed(_) => {
                Moved::Waits(Progress::Made)
            }
        }
    }

    /// Takes the handler's output and appends it to the outbox.
    pub(super) fn take_output(&mut self, wire: &mut Wire, cx: &mut Context) -> Moved {
        let output = self.transfer.take_output();
        if let Some(recorder) = wire.recorder() {
            recorder.output(&output);
        }
        if self.coding.may_change() {
            return self.take_coded(output, wire, cx);
        }
        self.put(output, wire, cx)
    }

    /// Appends the handler's output to the outbox, unchanged.
    pub(super) fn put(&mut self, output: Output, wire: &mut Wire, cx: &mut Context) -> Moved {
        let mut progress = Progress::Stuck;
        if let Some(head) = output.head {
            self.send_head(&head, wire, cx);
            progress = Progress::Made;
        }
        for block in output.blocks {
            wire.put_block(block, cx);
            progress = Progress::Made;
        }
        if output.ended {
            return self.end_output(wire, cx);
        }
        if wire.all_sent() {
            // Blocks that are not sent at all (B5) count as sent when taken.
            self.transfer.sent();
        }
        Moved::Waits(progress)
    }

    pub(super) fn send_head(&mut self, head: &Head, wire: &mut Wire, cx: &mut Context) {
        self.is_stream = is_event_stream(head);
        let (response, length) = self.transfer.begin(&mut wire.http, head);
        wire.start_response(&response, length, cx);
    }

    /// Ends the response after the handler's last block.
    pub(super) fn end_output(&mut self, wire: &mut Wire, cx: &mut Context) -> Moved {
        // The call may still run its `close`; the connection doesn't wait for that.
        cx.calls.detach(self.call);
        Moved::Ended(wire.finish_response(cx))
    }

    /// Records that the outbox is empty.
    pub(super) fn flushed(&self) {
        if self.coding.is_idle() {
            self.transfer.sent();
        }
    }
}

/// Returns whether a response is an event stream (WHATWG HTML section 9.2).
fn is_event_stream(head: &Head) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    head.fields.iter().any(|(name, value)| {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default();
        name.eq_ignore_ascii_case("content-type")
            && essence.trim_ascii().eq_ignore_ascii_case(EVENT_STREAM)
    })
}
