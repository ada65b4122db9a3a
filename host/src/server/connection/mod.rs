//! One client: its socket, its protocol state, and the request in progress.
//!
//! Every event on a connection leads to [`Connection::drive`], which continues until the connection
//! must wait for the socket or the handler:
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
//! If a proxy announces its client with a PROXY header, `Opening` comes first.
//!
//! The registration of the socket never changes: it is registered once, edge-triggered, for both
//! directions, and the flags `readable` and `writable` remember the edges.

mod coded;
mod dev;
mod ending;
mod linger;
mod opening;
mod replay;
mod waiting;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::admission::ConnectionPermit;
use super::context::{Context, Start, Started};
use super::listener::Service;
use super::outbox::Outbox;
use super::record::Record;
use super::transport::{Received, Transport};
use crate::dev::Document;
use crate::dev::endpoints::Stream;
use crate::gateway::{Origin, REQUEST_ID_FIELD, RequestId};
use crate::http1::{self, CloseReason, Expiry, Incoming, Patience, RequestBody, RequestHead};
use coded::Coding;
use linger::Linger;
use replay::Replay;
use waiting::Waiting;
use wire::{Progress, Wire};

/// The maximum number of steps per turn, after which other connections get theirs. A step is a read
/// of the socket, a request or a block of a response.
const STEPS_PER_TURN: u32 = 64;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    phase: Phase,
    peer: SocketAddr,
    local: SocketAddr,
    service: Service,
    readable: bool,
    /// The client has ended its side: reads will reach the end.
    ending: bool,
    /// The client has reset the connection.
    broken: bool,
    permit: ConnectionPermit,
    /// It is queued among the connections with more to do.
    pub(super) in_line: bool,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for the header of the PROXY protocol.
    Opening { until: Instant },
    /// Waiting for a request head.
    Reading,
    /// A request is in progress.
    Answering(Source),
    /// The last response is being sent.
    Closing(CloseReason),
    /// Our side is closed; further input is read and discarded, within limits.
    Lingering(Box<Linger>),
    /// Ready to be dropped.
    Closed,
}

/// The source of the response.
#[derive(Debug)]
enum Source {
    /// A running handler.
    Call(Box<Waiting>),
    /// The outbox, which contains all of it.
    Queued,
    /// The record of `wasgi dev`.
    Stream(Box<Stream>),
    /// A running handler, whose output is recorded in `wasgi dev`, and not sent.
    Replay(Box<Replay>),
}

/// What the reactor must do with a connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Wait for the socket, the handler or the deadline.
    Wait,
    /// Drive it again soon: there is more to do.
    Again,
    /// Drop it.
    Drop,
}

impl Connection {
    pub(super) fn new(
        transport: Transport,
        peer: SocketAddr,
        local: SocketAddr,
        service: Service,
        permit: ConnectionPermit,
        cx: &Context,
    ) -> Self {
        Self {
            wire: Wire {
                transport,
                http: http1::Connection::new(cx.settings.http.clone(), cx.now),
                outbox: Outbox::default(),
                record: None,
                writable: true,
                patience: Patience::new(cx.settings.limits.write_allowance()),
            },
            phase: Phase::Reading,
            peer,
            local,
            service,
            // The first bytes often arrive with the connection, so try a read.
            readable: true,
            ending: false,
            broken: false,
            permit,
            in_line: false,
        }
    }

    pub(super) fn socket_mut(&mut self) -> &mut mio::net::TcpStream {
        self.wire.transport.socket_mut()
    }

    /// Records the readiness of the socket.
    pub(super) fn ready(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable();
        self.wire.writable |= event.is_writable();
        self.ending |= event.is_read_closed();
        self.broken |= event.is_error();
    }

    /// Returns when to check this connection if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let write = self.wire.patience.deadline();
        let whole = self.wire.record.as_ref().and_then(|record| record.deadline);
        let read = match &self.phase {
            Phase::Opening { until } => Some(*until),
            Phase::Lingering(linger) => Some(linger.deadline()),
            Phase::Reading | Phase::Answering(_) => self.wire.http.deadline(),
            Phase::Closing(_) | Phase::Closed => None,
        };
        let handshake = self.wire.transport.deadline();
        [read, write, whole, handshake].into_iter().flatten().min()
    }

    /// Acts on an expired deadline.
    pub(super) fn expire(&mut self, cx: &mut Context) {
        let now = cx.now;
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|at| now >= at);
        if is_over(self.wire.patience.deadline()) && !self.takes_some(cx) {
            self.abandon(cx, "the client reads too slowly");
            // Also discards the data for it in the kernel's buffer.
            self.wire.reset();
            return;
        }
        if is_over(self.wire.record.as_ref().and_then(|record| record.deadline)) {
            self.overdue(cx);
            return;
        }
        if is_over(self.wire.transport.deadline()) {
            tracing::debug!("{}: the TLS handshake takes too long", self.peer);
            self.phase = Phase::Closed;
            return;
        }
        match &self.phase {
            Phase::Opening { until } if now >= *until => self.phase = Phase::Closed,
            Phase::Lingering(linger) if now >= linger.deadline() => self.phase = Phase::Closed,
            Phase::Reading | Phase::Answering(_) => {
                if let Some(Expiry::Close(reason)) = self.wire.http.expired(now) {
                    self.phase = Phase::Closing(reason);
                }
            }
            _ => {}
        }
    }

    /// Returns whether the client has received enough of its response after all to get more time.
    ///
    /// The kernel reports a writable socket only when a third of its buffer is free. That can be
    /// megabytes, more than a slow client can receive in its time. So this tries to write.
    fn takes_some(&mut self, cx: &mut Context) -> bool {
        self.wire.writable = true;
        self.flush(cx);
        self.wire.patience.deadline().is_none_or(|at| cx.now < at)
    }

    /// Accepts no further request, except for one that an idle client begins before `until`.
    pub(super) fn drain(&mut self, until: Instant) {
        match &mut self.phase {
            Phase::Opening { .. } => self.phase = Phase::Closed,
            Phase::Lingering(linger) => linger.stop(),
            // It has no end of its own.
            Phase::Answering(Source::Stream(_)) => self.phase = Phase::Closed,
            _ => {}
        }
        self.wire.http.drain(until);
    }

    /// Returns whether a response is in progress.
    pub(super) fn is_answering(&self) -> bool {
        matches!(self.phase, Phase::Answering(_) | Phase::Closing(_))
    }

    /// Runs until the connection must wait, or other connections should get their turn.
    pub(super) fn drive(&mut self, cx: &mut Context) -> Turn {
        for _ in 0..STEPS_PER_TURN {
            let received = self.receive(cx);
            let moved = self.step(cx);
            let sent = self.flush(cx);
            if matches!(self.phase, Phase::Closed) {
                return Turn::Drop;
            }
            if sent == Progress::Enough {
                return Turn::Again;
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

    /// Reads the socket once, if data may be available and is wanted.
    fn receive(&mut self, cx: &mut Context) -> Progress {
        if self.broken && self.is_answering() {
            // No data may be wanted now, so a read would not detect this.
            self.abandon(cx, "the client broke the connection");
            return Progress::Made;
        }
        let wanted = match self.phase {
            Phase::Reading | Phase::Answering(_) => self.wire.http.wants_bytes(),
            Phase::Opening { .. } | Phase::Lingering(_) => true,
            Phase::Closing(_) | Phase::Closed => false,
        };
        if !self.readable || !wanted {
            return Progress::Stuck;
        }
        let result = match self.phase {
            Phase::Opening { .. } => self.read_announcement(cx),
            Phase::Lingering(_) => self.read_rest(cx),
            _ => {
                let http = &mut self.wire.http;
                self.wire
                    .transport
                    .receive(&mut cx.scratch, |bytes| http.receive(bytes, cx.now))
            }
        };
        match result {
            Ok(Received::Bytes { more }) => {
                // A read that doesn't fill the buffer has emptied the socket: later data causes
                // another edge. Only the end of the stream doesn't.
                self.readable = more || self.ending;
                Progress::Made
            }
            Ok(Received::End) => {
                self.readable = false;
                self.wire.http.receive_end();
                Progress::Made
            }
            Ok(Received::Clear(count)) => {
                self.refuse_clear(cx, count);
                Progress::Made
            }
            Ok(Received::Failed(failed)) => {
                self.fail_tls(cx, &failed);
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

    /// Runs the next step of the phase.
    fn step(&mut self, cx: &mut Context) -> Progress {
        match &mut self.phase {
            Phase::Reading => self.read_head(cx),
            Phase::Answering(Source::Call(waiting)) => {
                let moved = waiting.exchange(&mut self.wire, cx);
                self.after(moved, cx)
            }
            Phase::Answering(Source::Stream(_)) => self.send_events(cx),
            Phase::Answering(Source::Replay(_)) => self.go_on_with_replay(cx),
            Phase::Answering(Source::Queued) if self.wire.all_sent() => {
                self.end_answer(cx);
                Progress::Made
            }
            Phase::Answering(Source::Queued) => {
                // Read the body: a client that sends all of it before it reads would block.
                let _ = self.wire.http.discard_body();
                Progress::Stuck
            }
            Phase::Closing(reason) if self.wire.all_sent() => {
                let reason = *reason;
                self.close(reason, cx.now)
            }
            Phase::Opening { .. } | Phase::Closing(_) | Phase::Lingering(_) | Phase::Closed => {
                Progress::Stuck
            }
        }
    }

    // Reading.

    fn read_head(&mut self, cx: &mut Context) -> Progress {
        match self.wire.http.next_request(cx.now) {
            None => Progress::Stuck,
            Some(Incoming::Request(head)) => {
                self.begin(&head, cx);
                Progress::Made
            }
            Some(Incoming::Rejected(rejection)) => {
                let mut record = Record::rejected(self.wire.http.rejected_line(), cx.now);
                record.id = cx.settings.request_id.then(RequestId::random);
                self.wire.record = Some(Box::new(record));
                let answer = cx.error(None, rejection.status, rejection.why);
                self.queue(answer, cx);
                Progress::Made
            }
            Some(Incoming::Closed(reason)) => {
                self.phase = match reason {
                    // The client may be sending a body while its response is on the way.
                    CloseReason::BodyUnread | CloseReason::BodyFailed(_) => Phase::Closing(reason),
                    // All responses are sent, and no received request is unanswered.
                    _ => {
                        self.wire.farewell();
                        Phase::Closed
                    }
                };
                Progress::Made
            }
        }
    }

    /// Returns the identifier that a trusted proxy gave to a request, or a new one.
    fn request_id(&self, head: &RequestHead, cx: &Context) -> RequestId {
        let is_trusted = cx.proxies().trusts(self.peer.ip());
        let given = head.field(REQUEST_ID_FIELD).filter(|_| is_trusted);
        given
            .and_then(RequestId::from_proxy)
            .unwrap_or_else(RequestId::random)
    }

    /// Starts the response to a request.
    fn begin(&mut self, head: &Arc<RequestHead>, cx: &mut Context) {
        let mut record = Box::new(Record::new(head.clone(), cx.now));
        record.deadline = cx.now.checked_add(cx.settings.limits.request_timeout);
        let scheme = self.wire.transport.scheme();
        let origin = Origin::from_request(head, self.peer, self.local, scheme, cx.proxies());
        record.trace = cx.begin_trace(head);
        record.scheme = origin.scheme;
        record.client = (origin.peer != self.peer).then_some(origin.peer);
        if cx.settings.request_id {
            record.id = Some(self.request_id(head, cx));
        }
        let start = match self.service {
            Service::Site if cx.settings.hosts.is_some() => {
                let connection = self.wire.transport.server_name();
                cx.start_on_host(head.clone(), origin, connection, &mut record)
            }
            Service::Site => cx.start(head.clone(), origin, &mut record),
            Service::Dev => return self.begin_dev(head, origin, record, cx),
            Service::Redirect => Start::Answer(cx.redirect(head, &origin)),
            Service::Refusal => {
                self.wire.http.stop();
                Start::Answer(cx.error(
                    None,
                    400,
                    "This port speaks TLS: ask for it with https://.",
                ))
            }
        };
        self.respond(start, head, record, None, cx);
    }

    /// Begins the response to a request: queues it, or waits for its handler. `document` is the
    /// document that a browser requested, in `wasgi dev`.
    #[inline]
    fn respond(
        &mut self,
        start: Start,
        head: &Arc<RequestHead>,
        mut record: Box<Record>,
        document: Option<Box<Document>>,
        cx: &mut Context,
    ) {
        let started = start.note(&mut record);
        self.wire.record = Some(record);
        let answer = match started {
            Started::Answer(answer) => answer,
            Started::Call { call, exchange } => {
                let has_body = head.body() != RequestBody::None;
                let coding = match document {
                    Some(document) => Coding::Document(document),
                    None => Coding::for_request(head, cx.compress(self.wire.host())),
                };
                let waiting = Waiting::new(call, exchange, has_body, coding);
                self.phase = Phase::Answering(Source::Call(Box::new(waiting)));
                return;
            }
        };
        let answer = match document {
            Some(document) => self.document(*document, answer, head, cx),
            None => cx.explain_absence(answer, head),
        };
        self.answer(answer, cx);
    }
}
