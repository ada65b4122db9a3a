//! What `wasgi dev` changes on a connection: the server's own endpoints, HTML documents with its
//! script, and event streams. No other service uses any of it.

use std::sync::Arc;

use super::coded::Coding;
use super::waiting::{Moved, Waiting};
use super::wire::{Progress, Wire};
use super::{Connection, Phase, Source};
use crate::dev::endpoints::{self, Reply, Stream};
use crate::dev::requests::Recorder;
use crate::dev::{Dev, Document, Report, access, document};
use crate::gateway::{Failure, Origin, Output};
use crate::http1::{BodyLength, RequestHead, ResponseHead, reason};
use crate::server::context::Context;
use crate::server::record::Record;
use crate::static_files::Answer;

/// The fields of an event stream (WHATWG HTML, section 9.2).
const STREAM_FIELDS: [(&str, &[u8]); 3] = [
    ("Content-Type", b"text/event-stream"),
    ("Cache-Control", b"no-store"),
    ("Cross-Origin-Resource-Policy", b"same-origin"),
];

impl Context {
    /// Returns the response to a request for which there is neither a page nor a handler: in `wasgi
    /// dev`, the report of the handler that could not be loaded, as text for what is no browser.
    #[inline]
    pub(super) fn explain_absence(&self, answer: Answer, head: &RequestHead) -> Answer {
        let Some(dev) = self.dev() else {
            return answer;
        };
        let report = match access::is_local(head) {
            true => absence(dev, &answer, head),
            false => None,
        };
        report.map_or(answer, |report| report.plain(500))
    }
}

/// Returns the report of a handler that could not be loaded, if that is why there is no page.
fn absence(dev: &Dev, answer: &Answer, head: &RequestHead) -> Option<Report> {
    match answer.status {
        404 | 503 => dev.failure_at(head.path()),
        _ => None,
    }
}

impl Connection {
    /// Starts the response to a request in `wasgi dev`.
    pub(super) fn begin_dev(
        &mut self,
        head: &Arc<RequestHead>,
        origin: Origin,
        mut record: Box<Record>,
        cx: &mut Context,
    ) {
        let Some(dev) = cx.dev().cloned() else {
            return;
        };
        if endpoints::is_own(head) {
            match endpoints::respond(&dev, head) {
                Reply::Answer(answer) => {
                    // The dashboard asks every second, which would fill the access log.
                    if answer.status >= 400 {
                        self.wire.record = Some(record);
                    }
                    self.answer(answer, cx);
                }
                Reply::Stream(stream) => self.begin_stream(stream, record, cx),
                Reply::Replay(request) => self.begin_replay(&dev, &request, cx),
            }
            return;
        }
        let mut recorder = Box::new(Recorder::new(dev.requests(), head, &origin));
        // Under another name, a page elsewhere could read what is only for this machine.
        let document = (access::is_local(head) && document::is_wanted(head))
            .then(|| Box::new(Document::new(&dev, head, origin.scheme.as_str())));
        let request = match &document {
            Some(_) => document::request(head),
            None => head.clone(),
        };
        recorder.set_given(&request);
        cx.number = Some(recorder.number());
        record.recorder = Some(recorder);
        let start = cx.start(request, origin, &mut record);
        cx.number = None;
        self.respond(start, head, record, document, cx);
    }

    /// Puts the script into the document that a browser requested. If a handler that can't be
    /// loaded would have answered, the document is its report.
    pub(super) fn document(
        &mut self,
        document: Document,
        answer: Answer,
        head: &RequestHead,
        cx: &Context,
    ) -> Answer {
        if let Some(recorder) = self.wire.recorder() {
            recorder.answer(&answer);
        }
        let report = cx.dev().and_then(|dev| absence(dev, &answer, head));
        document.change(report.map_or(answer, |report| report.page(500)))
    }

    fn begin_stream(&mut self, stream: Stream, mut record: Box<Record>, cx: &mut Context) {
        // It ends when the page does.
        record.deadline = None;
        self.wire.record = Some(record);
        self.wire.http.leave_body();
        let head = ResponseHead {
            status: 200,
            reason: reason(200).as_bytes(),
            fields: STREAM_FIELDS.into_iter(),
        };
        self.wire.start_response(&head, BodyLength::Unknown, cx);
        self.phase = Phase::Answering(Source::Stream(Box::new(stream)));
    }

    /// Returns whether the connection has an event stream.
    pub(in crate::server) fn is_stream(&self) -> bool {
        matches!(self.phase, Phase::Answering(Source::Stream(_)))
    }

    /// Sends the next events, after the earlier ones were sent. A reader that is too slow to get
    /// all of them is dropped; it reconnects, and its page reloads.
    pub(super) fn send_events(&mut self, cx: &mut Context) -> Progress {
        if self.ending {
            self.abandon(cx, "the page has closed its event stream");
            return Progress::Made;
        }
        let Phase::Answering(Source::Stream(stream)) = &mut self.phase else {
            return Progress::Stuck;
        };
        if !self.wire.all_sent() {
            return Progress::Stuck;
        }
        let Some(dev) = cx.dev().cloned() else {
            return Progress::Stuck;
        };
        match dev.next(stream) {
            Some(events) if events.is_empty() => Progress::Stuck,
            Some(events) => {
                self.wire.put_block(events, cx);
                Progress::Made
            }
            None => {
                self.abandon(cx, "the page reads its event stream too slowly");
                Progress::Made
            }
        }
    }

    /// Records why the request in progress has failed.
    pub(in crate::server) fn explained(&mut self, report: &Report) {
        if let Some(recorder) = self.wire.recorder() {
            recorder.failed(report);
        }
    }

    /// Records that the response violates the contract, in `wasgi dev`.
    pub(super) fn violated(&mut self, why: &'static str, cx: &Context) {
        if let (Some(dev), Some(record)) = (cx.dev(), &self.wire.record) {
            let report = dev.violated(record.handler_name(), record.request().to_string(), why);
            self.explained(&report);
        }
    }

    /// Returns the response for a failed call: in `wasgi dev`, the report if a browser requested a
    /// document.
    pub(super) fn failure(&mut self, failure: &Failure, request: &str, cx: &mut Context) -> Answer {
        let answer = cx.failure(self.wire.host(), failure, request);
        match (cx.explained.take(), self.take_document()) {
            (Some(report), Some(document)) => {
                if let Some(recorder) = self.wire.recorder() {
                    recorder.answer(&answer);
                }
                document.change(report.page(answer.status))
            }
            _ => answer,
        }
    }

    fn take_document(&mut self) -> Option<Box<Document>> {
        let Phase::Answering(Source::Call(waiting)) = &mut self.phase else {
            return None;
        };
        match std::mem::replace(&mut waiting.coding, Coding::Off) {
            Coding::Document(document) => Some(document),
            _ => None,
        }
    }
}

impl Waiting {
    /// Takes the handler's output, puts the script into it if it is an HTML document, and appends
    /// it to the outbox.
    pub(super) fn take_document(
        &mut self,
        mut output: Output,
        wire: &mut Wire,
        cx: &mut Context,
    ) -> Moved {
        let Coding::Document(document) = &mut self.coding else {
            return self.put(output, wire, cx);
        };
        if let Some(head) = &mut output.head
            && !document.begin(head)
        {
            // The client's codings were withheld from the request, so it is not compressed either.
            self.coding = Coding::Off;
            return self.put(output, wire, cx);
        }
        let blocks = output.blocks.into_iter();
        output.blocks = blocks
            .map(|block| document.block(block))
            .filter(|block| !block.is_empty())
            .collect();
        if output.ended {
            let end = document.end();
            if !end.is_empty() {
                output.blocks.push_back(end);
            }
        }
        self.put(output, wire, cx)
    }
}
