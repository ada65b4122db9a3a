//! A connection without its phase: the socket, the protocol's state, and the output on its way.

use std::time::Duration;
use std::{io, iter};

use crate::dev::requests::Recorder;
use crate::gateway::REQUEST_ID_FIELD;
use crate::http1::{self, BodyLength, Discard, Finish, Patience, ResponseHead, Stamp, reason};
use crate::server::context::Context;
use crate::server::hosts::VirtualHost;
use crate::server::outbox::{Flush, Outbox};
use crate::server::record::Record;
use crate::server::transport::{Transport, Workspace};
use crate::static_files::{Answer, Content, Piece};

/// The part of a connection that each phase uses.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) transport: Transport,
    pub(super) http: http1::Connection,
    pub(super) outbox: Outbox,
    pub(super) record: Option<Box<Record>>,
    pub(super) writable: bool,
    /// The remaining time for a client that doesn't read its response.
    pub(super) patience: Patience,
}

/// Whether a phase has made progress.
#[derive(PartialEq, Eq)]
pub(super) enum Progress {
    Made,
    /// It has more to do after the others have had their turn.
    Enough,
    Stuck,
}

impl Wire {
    /// Returns whether no data is waiting to be sent.
    pub(super) fn all_sent(&self) -> bool {
        self.outbox.is_empty() && self.transport.waiting_bytes() == 0
    }

    /// Returns the virtual host that the request is for; `None` for the site itself.
    pub(super) fn host(&self) -> Option<&VirtualHost> {
        self.record.as_ref()?.host.as_deref()
    }

    /// Returns what records the request, in `wasgi dev`.
    pub(super) fn recorder(&mut self) -> Option<&mut Recorder> {
        self.record.as_mut()?.recorder.as_deref_mut()
    }

    /// Sends queued data, as far as the socket accepts it. `None` if nothing is queued, or the
    /// socket is not writable.
    pub(super) fn flush(&mut self, cx: &mut Context) -> Option<io::Result<Flush>> {
        if self.all_sent() || !self.writable {
            return None;
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
        if let Ok(Flush::Blocked) = result {
            self.writable = false;
            self.patience.wait(cx.now);
        }
        Some(result)
    }

    /// Prepares an answer that doesn't wait for the request's body: the rest of the body is
    /// discarded after the response. If the received part of the body is malformed, returns that
    /// error instead.
    pub(super) fn without_body(&mut self, answer: Answer, cx: &mut Context) -> Answer {
        match self.http.discard_body() {
            Discard::Failed(error) => cx.error(self.host(), error.status(), error.why()),
            Discard::Incomplete => {
                self.http.leave_body();
                answer
            }
            Discard::Done | Discard::TooMuch => answer,
        }
    }

    /// Appends a complete response to the outbox.
    pub(super) fn queue(&mut self, answer: Answer, cx: &mut Context) {
        let length = answer.body.length();
        let take = {
            let fields = answer
                .fields
                .iter()
                .map(|(name, value)| (&**name, &**value));
            let head = ResponseHead {
                status: answer.status,
                reason: reason(answer.status).as_bytes(),
                fields,
            };
            self.start_response(&head, BodyLength::Known(length), cx);
            let tail = self.outbox.tail(&mut cx.spare);
            let size = usize::try_from(length).unwrap_or(usize::MAX);
            self.http.frame(size, tail).take
        };
        // `take` is zero for a response to HEAD; for any other response it is the whole body, as
        // declared.
        if take > 0 {
            self.push(answer.body, cx);
        }
        let finish = self.finish_response(cx);
        debug_assert_eq!(finish, Finish::Whole);
    }

    fn push(&mut self, body: Content, cx: &mut Context) {
        let pieces = match body {
            Content::Empty => return,
            Content::Bytes(bytes) => return self.outbox.push_shared(bytes, &mut cx.spare),
            Content::File(part) => return self.outbox.push_file(part),
            Content::Pieces(pieces) => pieces,
        };
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => self.outbox.push_shared(bytes, &mut cx.spare),
                Piece::File(part) => self.outbox.push_file(part),
            }
        }
    }

    pub(super) fn start_response<'a, F>(
        &mut self,
        head: &ResponseHead<'a, F>,
        length: BodyLength,
        cx: &mut Context,
    ) where
        F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        if let Some(record) = &mut self.record {
            record.status = head.status;
        }
        // `Context::stamp` would borrow the buffers too.
        let stamp = Stamp {
            date: cx.date.text(),
            server: cx.settings.server(),
        };
        let tail = self.outbox.tail(&mut cx.spare);
        let before_bytes = tail.len();
        let id = self.record.as_ref().and_then(|record| record.id.as_ref());
        let skipped = match id.filter(|_| cx.settings.request_id) {
            Some(id) if !has_field(head, REQUEST_ID_FIELD) => {
                let id = (REQUEST_ID_FIELD, id.as_str().as_bytes());
                let head = ResponseHead {
                    status: head.status,
                    reason: head.reason,
                    fields: head.fields.clone().map(shortened).chain(iter::once(id)),
                };
                let skipped = self.http.start_response(&head, length, &stamp, tail);
                skipped.first.map(str::to_owned)
            }
            _ => {
                let skipped = self.http.start_response(head, length, &stamp, tail);
                skipped.first.map(str::to_owned)
            }
        };
        let head_bytes = tail.len() - before_bytes;
        self.count_overhead(head_bytes);
        if let Some(name) = skipped {
            let handler = self
                .record
                .as_ref()
                .map_or("", |record| record.handler_name());
            tracing::warn!(
                handler,
                "a {name} field was not sent: it could break the framing"
            );
        }
    }

    /// Appends a block to the outbox, with framing.
    pub(super) fn put_block(&mut self, block: Vec<u8>, cx: &mut Context) {
        let tail = self.outbox.tail(&mut cx.spare);
        let before_bytes = tail.len();
        let frame = self.http.frame(block.len(), tail);
        let frame_bytes = tail.len() - before_bytes + frame.suffix.len();
        self.count_overhead(frame_bytes);
        if frame.take < block.len() {
            self.note_overlong();
        }
        self.outbox.push(block, frame.take, &mut cx.spare);
        if !frame.suffix.is_empty() {
            self.outbox
                .tail(&mut cx.spare)
                .extend_from_slice(frame.suffix);
        }
    }

    /// Records bytes that are sent and don't belong to the body.
    pub(super) fn count_overhead(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.overhead_bytes += bytes as u64;
        }
    }

    /// Records that the handler gave more bytes than it declared.
    pub(super) fn note_overlong(&mut self) {
        if let Some(record) = &mut self.record {
            record.note_overlong();
        }
    }

    pub(super) fn finish_response(&mut self, cx: &mut Context) -> Finish {
        let tail = self.outbox.tail(&mut cx.spare);
        let before_bytes = tail.len();
        let finish = self.http.finish_response(tail);
        let end_bytes = tail.len() - before_bytes;
        self.count_overhead(end_bytes);
        finish
    }

    /// Resets the connection, where an orderly close would make a truncated response look complete.
    pub(super) fn reset(&self) {
        let socket = socket2::SockRef::from(self.transport.socket());
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!("a connection was closed, not reset: {error}");
        }
    }

    /// Sends a close_notify to an idle client.
    pub(super) fn farewell(&mut self) {
        if self.transport.close() {
            // Best effort: a client that doesn't read won't miss it.
            let _ = self.transport.push();
        }
    }
}

/// Returns a field of a head for as long as others live.
fn shortened<'s, 'l: 's>(field: (&'l str, &'l [u8])) -> (&'s str, &'s [u8]) {
    field
}

/// Returns whether a response's head has a field with this name.
fn has_field<'a, F>(head: &ResponseHead<'a, F>, name: &str) -> bool
where
    F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    let mut fields = head.fields.clone();
    fields.any(|(field, _)| field.eq_ignore_ascii_case(name))
}
