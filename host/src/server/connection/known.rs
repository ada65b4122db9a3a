//! Responses that are known from the start: pages, redirects, errors.

use super::{Connection, Phase, Source};
use crate::http1::{BodyLength, Discard, Finish, ResponseHead, Stamp, reason};
use crate::server::context::Context;
use crate::static_files::{Answer, Content, Piece};

impl Connection {
    /// Answers a request at once, without waiting for its body: the rest of the body is discarded
    /// after the response. If the received part of the body is malformed, sends that error instead.
    pub(super) fn answer(&mut self, answer: Answer, cx: &mut Context) {
        let answer = match self.http.discard_body() {
            Discard::Failed(error) => cx.error(error.status(), error.why()),
            Discard::Incomplete => {
                self.http.leave_body();
                answer
            }
            Discard::Done | Discard::TooMuch => answer,
        };
        self.queue(answer, cx);
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
        let finish = self.http.finish_response(self.outbox.tail(&mut cx.spare));
        debug_assert_eq!(finish, Finish::Whole);
        self.phase = Phase::Answering(Source::Queued);
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
        let skipped =
            self.http
                .start_response(head, length, &stamp, self.outbox.tail(&mut cx.spare));
        if let Some(name) = skipped.first {
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
}
