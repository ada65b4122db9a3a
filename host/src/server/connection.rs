//! One client: its socket, its protocol state, and the request that is being answered.
//!
//! Everything that happens to a connection ends in [`Connection::drive`], which goes on until the
//! socket or the handler has to be waited for:
//!
//! ```text
//!            head complete               answer queued and sent
//!   Reading ───────────────▶ Answering ───────────────────────▶ Reading
//!      │                        │  ▲                               (or)
//!      │ rejected               │  └─ body bytes in, blocks out ┐
//!      ▼                        ▼                               ▼
//!   Answering ──────────────▶ Closing ──▶ Lingering ──▶ Closed
//! ```
//!
//! Interest in the socket is never changed: it is registered once, edge-triggered, for both
//! directions, and the two flags `readable` and `writable` remember the edges.

use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::calls::CallId;
use super::context::{Context, Start};
use super::outbox::{Flush, Outbox};
use super::record::Record;
use super::status::reason;
use crate::gateway::{Exchange, Failure, Head, InputError};
use crate::http1::{
    self, BodyError, BodyLength, BodyProgress, CloseReason, Discard, Expiry, Finish, Incoming,
    RequestBody, RequestHead, ResponseHead, Stamp, Step,
};
use crate::static_files::{Answer, Content};

/// How long a client may take nothing of what is sent to it. As long as nginx waits.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a closed connection's client may go on sending before it is cut: as long as it takes
/// for the answer to arrive, with room (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How much it may send in that time, in bytes.
const LINGER_BYTES: usize = 1024 * 1024;

/// Steps of one turn, after which other connections get theirs. A step is a read of the socket, a
/// request or a block of an answer.
const STEPS_PER_TURN: u32 = 64;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    http: http1::Connection,
    phase: Phase,
    outbox: Outbox,
    record: Option<Box<Record>>,
    readable: bool,
    writable: bool,
    /// The client has ended its side: the next reads come to the end.
    ending: bool,
    /// Since when the socket has taken nothing of what waits for it.
    blocked_since: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for a request's head.
    Reading,
    /// A request is being answered.
    Answering(Source),
    /// The last answer has to leave yet.
    Closing(CloseReason),
    /// Our side is closed; the client's last bytes are read and thrown away.
    Lingering { until: Instant, left_bytes: usize },
    /// To be dropped.
    Closed,
}

/// Where the answer comes from.
#[derive(Debug)]
enum Source {
    /// A handler is at work.
    Call(Box<Waiting>),
    /// The answer is known, and waits for the request's body to be read to its end.
    Known(Box<Answer>),
    /// All of it is in the outbox.
    Queued,
}

/// A call that this connection waits for.
#[derive(Debug)]
struct Waiting {
    call: CallId,
    exchange: Arc<Exchange>,
    /// The request's body has been handed over to its end.
    body_done: bool,
    head_sent: bool,
}

/// What the reactor does with a connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Wait for the socket, the handler or the deadline.
    Wait,
    /// Come back soon: there is more to do.
    Again,
    /// Drop it.
    Drop,
}

/// Whether a phase has something more to do.
#[derive(PartialEq, Eq)]
enum Progress {
    Made,
    Stuck,
}

impl Connection {
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        limits: Arc<http1::Limits>,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            peer,
            local,
            http: http1::Connection::new(limits, now),
            phase: Phase::Reading,
            outbox: Outbox::default(),
            record: None,
            // The first bytes often come with the connection; an attempt tells.
            readable: true,
            writable: true,
            ending: false,
            blocked_since: None,
        }
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Takes note of what the socket is ready for.
    pub(super) fn ready(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable();
        self.writable |= event.is_writable();
        self.ending |= event.is_read_closed();
    }

    /// When this connection has to be looked at, if nothing happens until then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let write = self.blocked_since.map(|since| since + WRITE_TIMEOUT);
        let read = match &self.phase {
            Phase::Lingering { until, .. } => Some(*until),
            Phase::Reading | Phase::Answering(_) => self.http.deadline(),
            Phase::Closing(_) | Phase::Closed => None,
        };
        match (read, write) {
            (Some(read), Some(write)) => Some(read.min(write)),
            (one, other) => one.or(other),
        }
    }

    /// Acts on the deadline.
    pub(super) fn expire(&mut self, cx: &mut Context) {
        let now = cx.now;
        if self
            .blocked_since
            .is_some_and(|since| now >= since + WRITE_TIMEOUT)
        {
            self.abandon(cx, "the client takes nothing");
            return;
        }
        match &self.phase {
            Phase::Lingering { until, .. } if now >= *until => self.phase = Phase::Closed,
            Phase::Reading | Phase::Answering(_) => {
                if let Some(Expiry::Close(reason)) = self.http.expired(now) {
                    self.phase = Phase::Closing(reason);
                }
            }
            _ => {}
        }
    }

    /// Takes no further request.
    pub(super) fn stop(&mut self) {
        self.http.stop();
    }

    /// Whether it is in the middle of an answer.
    pub(super) fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(_) | Phase::Closing(_))
    }

    /// Goes on until something has to be waited for, or others should have their turn.
    pub(super) fn drive(&mut self, cx: &mut Context) -> Turn {
        for _ in 0..STEPS_PER_TURN {
            let received = self.receive(cx);
            let moved = self.step(cx);
            let sent = self.flush(cx);
            if matches!(self.phase, Phase::Closed) {
                return Turn::Drop;
            }
            if [received, moved, sent]
                .iter()
                .all(|progress| *progress == Progress::Stuck)
            {
                return Turn::Wait;
            }
        }
        Turn::Again
    }

    /// Reads the socket once, if there may be something and somebody wants it.
    fn receive(&mut self, cx: &mut Context) -> Progress {
        let wanted = match self.phase {
            Phase::Reading | Phase::Answering(_) => self.http.wants_bytes(),
            Phase::Lingering { .. } => true,
            Phase::Closing(_) | Phase::Closed => false,
        };
        if !self.readable || !wanted {
            return Progress::Stuck;
        }
        match self.socket.read(&mut cx.scratch) {
            Ok(0) => {
                self.readable = false;
                if let Phase::Lingering { .. } = self.phase {
                    self.phase = Phase::Closed;
                } else {
                    self.http.receive_end();
                }
                Progress::Made
            }
            Ok(count) => {
                // A read that leaves room has emptied the socket: what comes later is an edge of
                // its own. Only the end of the stream comes without one.
                self.readable = count == cx.scratch.len() || self.ending;
                if let Phase::Lingering { left_bytes, .. } = &mut self.phase {
                    *left_bytes = left_bytes.saturating_sub(count);
                    if *left_bytes == 0 {
                        self.phase = Phase::Closed;
                    }
                } else {
                    self.http.receive(&cx.scratch[..count], cx.now);
                }
                Progress::Made
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Progress::Stuck
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Progress::Made,
            Err(_) => {
                self.abandon(cx, "the client broke the connection");
                Progress::Made
            }
        }
    }

    /// Does what the phase has to do next.
    fn step(&mut self, cx: &mut Context) -> Progress {
        match &mut self.phase {
            Phase::Reading => self.read_head(cx),
            Phase::Answering(Source::Call(_)) => self.exchange(cx),
            Phase::Answering(Source::Known(_)) => self.read_away(cx),
            Phase::Answering(Source::Queued) if self.outbox.is_empty() => {
                self.end_answer(cx);
                Progress::Made
            }
            Phase::Closing(reason) if self.outbox.is_empty() => {
                let reason = *reason;
                self.close(reason, cx.now);
                Progress::Made
            }
            Phase::Answering(Source::Queued)
            | Phase::Closing(_)
            | Phase::Lingering { .. }
            | Phase::Closed => Progress::Stuck,
        }
    }

    // Reading.

    fn read_head(&mut self, cx: &mut Context) -> Progress {
        match self.http.next_request(cx.now) {
            None => Progress::Stuck,
            Some(Incoming::Request(head)) => {
                self.begin(head, cx);
                Progress::Made
            }
            Some(Incoming::Rejected(rejection)) => {
                self.record = Some(Box::new(Record::rejected(
                    self.http.rejected_line(),
                    cx.now,
                )));
                let answer = cx.error(rejection.status, rejection.why);
                self.queue(answer, cx);
                Progress::Made
            }
            Some(Incoming::Closed(_)) => {
                // All answers have left, and nothing that came is unanswered: nothing to wait for.
                self.phase = Phase::Closed;
                Progress::Made
            }
        }
    }

    /// Begins to answer a request.
    fn begin(&mut self, head: Arc<RequestHead>, cx: &mut Context) {
        let has_body = head.body() != RequestBody::None;
        let mut record = Record::new(head.clone(), cx.now);
        let source = match cx.start(head, self.peer, self.local) {
            Start::Answer(answer) => Source::Known(Box::new(answer)),
            Start::Call {
                call,
                exchange,
                handler,
            } => {
                record.handler = Some(handler);
                Source::Call(Box::new(Waiting {
                    call,
                    exchange,
                    body_done: !has_body,
                    head_sent: false,
                }))
            }
        };
        self.record = Some(Box::new(record));
        self.phase = Phase::Answering(source);
    }

    // A known answer.

    /// Reads the request's body away, so that a broken one is answered as such; then answers.
    fn read_away(&mut self, cx: &mut Context) -> Progress {
        let failed = match self.http.discard_body(cx.now) {
            Discard::Incomplete => return Progress::Stuck,
            Discard::Done | Discard::TooMuch => None,
            Discard::Failed(error) => Some(error),
        };
        let Phase::Answering(Source::Known(answer)) =
            std::mem::replace(&mut self.phase, Phase::Answering(Source::Queued))
        else {
            return Progress::Stuck;
        };
        let answer = match failed {
            Some(error) => cx.error(error.status(), error.why()),
            None => *answer,
        };
        self.queue(answer, cx);
        Progress::Made
    }

    /// Puts a whole answer into the outbox.
    fn queue(&mut self, answer: Answer, cx: &mut Context) {
        let (length, take) = {
            let length = match &answer.body {
                Content::Empty => 0,
                Content::Bytes(bytes) => bytes.len() as u64,
                Content::File { length, .. } => *length,
            };
            let fields = answer.fields.iter().map(|(name, value)| (*name, &**value));
            let head = ResponseHead {
                status: answer.status,
                reason: reason(answer.status),
                fields,
            };
            self.start_response(&head, BodyLength::Known(length), cx);
            let tail = self.outbox.tail(&mut cx.spare);
            let frame = self
                .http
                .frame(usize::try_from(length).unwrap_or(usize::MAX), tail);
            (length, frame.take)
        };
        match answer.body {
            Content::Empty => {}
            Content::Bytes(bytes) => self.outbox.push(bytes, take, &mut cx.spare),
            // A file has its length announced, and for HEAD nothing of it is taken.
            Content::File { file, .. } => self.outbox.push_file(file, length.min(take as u64)),
        }
        let finish = self.http.finish_response(self.outbox.tail(&mut cx.spare));
        debug_assert_eq!(finish, Finish::Whole);
        self.phase = Phase::Answering(Source::Queued);
    }

    fn start_response<'a, F>(
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
        let stamp = Stamp {
            date: cx.date.text(),
            server: Some(crate::SERVER_SOFTWARE),
        };
        let skipped =
            self.http
                .start_response(head, length, &stamp, self.outbox.tail(&mut cx.spare));
        if let Some(name) = skipped.first {
            let handler = self
                .record
                .as_ref()
                .map_or("", |record| record.handler_name());
            tracing::warn!("{handler}: a {name} field was not sent: it could break the framing");
        }
    }

    // A handler's answer.

    /// Carries body bytes to the handler and blocks to the client, as far as both can take them.
    fn exchange(&mut self, cx: &mut Context) -> Progress {
        let fed = self.feed(cx);
        let drained = self.take_output(cx);
        if fed == Progress::Made { fed } else { drained }
    }

    /// Hands over what has arrived of the request's body.
    fn feed(&mut self, cx: &mut Context) -> Progress {
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
                waiting.exchange.end_body(Err(input_error(error)));
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
    fn take_output(&mut self, cx: &mut Context) -> Progress {
        let Phase::Answering(Source::Call(waiting)) = &mut self.phase else {
            return Progress::Stuck;
        };
        let output = waiting.exchange.take_output();
        let mut progress = Progress::Stuck;
        if let Some(head) = output.head {
            waiting.head_sent = true;
            self.send_head(&head, cx);
            progress = Progress::Made;
        }
        for block in output.blocks {
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
            progress = Progress::Made;
        }
        if output.ended {
            self.end_output(cx);
            progress = Progress::Made;
        } else if self.outbox.is_empty()
            && let Phase::Answering(Source::Call(waiting)) = &self.phase
        {
            // Blocks of which nothing is to be sent (B5) have left as soon as they were taken.
            waiting.exchange.sent();
        }
        progress
    }

    fn send_head(&mut self, head: &Head, cx: &mut Context) {
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
    fn end_output(&mut self, cx: &mut Context) {
        if let Phase::Answering(Source::Call(waiting)) = &self.phase {
            // It may still have its `close` to run; nobody waits for that.
            cx.calls.detach(waiting.call);
        }
        match self.http.finish_response(self.outbox.tail(&mut cx.spare)) {
            Finish::Whole => self.phase = Phase::Answering(Source::Queued),
            Finish::Short => {
                let handler = self
                    .record
                    .as_ref()
                    .map_or("", |record| record.handler_name());
                tracing::error!(
                    "{handler}: the body is shorter than its Content-Length: connection cut"
                );
                self.phase = Phase::Closing(CloseReason::AnswerShort);
            }
        }
    }

    /// The call that this connection waits for has ended without a whole answer.
    pub(super) fn call_failed(&mut self, failure: &Failure, cx: &mut Context) {
        self.take_output(cx);
        let Phase::Answering(Source::Call(waiting)) = &self.phase else {
            return;
        };
        if waiting.head_sent {
            self.phase = Phase::Closing(CloseReason::AnswerUnfinished);
            return;
        }
        let answer = cx.failure(failure);
        self.queue(answer, cx);
    }

    // Sending and ending.

    fn flush(&mut self, cx: &mut Context) -> Progress {
        if self.outbox.is_empty() || !self.writable {
            return Progress::Stuck;
        }
        let mut sent = 0;
        let result = self
            .outbox
            .flush(&mut self.socket, &mut cx.spare, &mut sent);
        if let Some(record) = &mut self.record {
            record.bytes += sent;
        }
        if sent > 0 {
            self.blocked_since = None;
        }
        match result {
            Ok(Flush::Empty) => {
                if let Phase::Answering(Source::Call(waiting)) = &self.phase {
                    waiting.exchange.sent();
                }
                Progress::Made
            }
            Ok(Flush::Blocked) => {
                self.writable = false;
                self.blocked_since.get_or_insert(cx.now);
                Progress::Stuck
            }
            Ok(Flush::FileShort) => {
                tracing::warn!("a page became shorter while it was sent: connection cut");
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

    /// The last byte of an answer has left.
    fn end_answer(&mut self, cx: &mut Context) {
        self.log(cx);
        self.phase = match self.http.next_step(cx.now) {
            Step::NextRequest | Step::Drain => Phase::Reading,
            Step::Close(reason) => Phase::Closing(reason),
        };
    }

    /// Ends the connection as its reason asks for.
    fn close(&mut self, reason: CloseReason, now: Instant) {
        self.phase = if reason.cuts_answer() {
            self.reset();
            Phase::Closed
        } else if reason.lingers() && self.socket.shutdown(Shutdown::Write).is_ok() {
            Phase::Lingering {
                until: now + LINGER_TIME,
                left_bytes: LINGER_BYTES,
            }
        } else {
            Phase::Closed
        };
    }

    /// Has the client see a broken connection, where an orderly end would pass for a whole answer.
    fn reset(&self) {
        let socket = socket2::SockRef::from(&self.socket);
        if let Err(error) = socket.set_linger(Some(Duration::ZERO)) {
            tracing::debug!("a connection was closed, not reset: {error}");
        }
    }

    /// Gives up on the client: its answer can't reach it.
    pub(super) fn abandon(&mut self, cx: &mut Context, why: &'static str) {
        if let Phase::Answering(Source::Call(waiting)) = &self.phase {
            cx.calls.leave(waiting.call);
        }
        if let Some(record) = &mut self.record {
            record.cut = Some(why);
        }
        self.outbox.clear();
        self.phase = Phase::Closed;
    }

    /// Writes the access log's line, if a request is still without one.
    pub(super) fn log(&mut self, cx: &mut Context) {
        if let Some(record) = self.record.take() {
            cx.log(self.peer, &record);
        }
    }
}

fn input_error(error: BodyError) -> InputError {
    match error {
        BodyError::Malformed(_) => InputError::Malformed,
        BodyError::TooLarge | BodyError::ExtensionsTooLarge | BodyError::TrailersTooLarge => {
            InputError::TooLarge
        }
        BodyError::CutShort => InputError::Disconnected,
        BodyError::TooSlow => InputError::TimedOut,
    }
}
