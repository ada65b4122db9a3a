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
//! Where a proxy announces who its client is, `Opening` comes first.
//!
//! Interest in the socket is never changed: it is registered once, edge-triggered, for both
//! directions, and the two flags `readable` and `writable` remember the edges.

mod coded;
mod ending;
mod exchange;
mod known;
mod linger;
mod opening;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::admission::ConnectionPermit;
use super::calls::CallId;
use super::context::{Context, Start};
use super::outbox::Outbox;
use super::proxy::Origin;
use super::record::Record;
use super::transport::{Received, Transport};
use crate::gateway::Exchange;
use crate::http1::{self, CloseReason, Expiry, Incoming, Patience, RequestBody, RequestHead};
use crate::registry::Target;
use coded::Coding;
use linger::Linger;

/// Steps of one turn, after which other connections get theirs. A step is a read of the socket, a
/// request or a block of an answer.
const STEPS_PER_TURN: u32 = 64;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    transport: Transport,
    peer: SocketAddr,
    local: SocketAddr,
    service: Service,
    http: http1::Connection,
    phase: Phase,
    outbox: Outbox,
    record: Option<Box<Record>>,
    readable: bool,
    writable: bool,
    /// The client has ended its side: the next reads come to the end.
    ending: bool,
    /// The client has reset the connection.
    broken: bool,
    /// What is left of our patience with a client that doesn't take its answer.
    patience: Patience,
    permit: ConnectionPermit,
    /// It stands among those that have more to do.
    pub(super) in_line: bool,
}

/// What the requests of a connection are answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// The site.
    Site,
    /// The way to the site by https.
    Redirect,
    /// That it is the wrong protocol: they came in the clear to where TLS is spoken.
    Refusal,
}

#[derive(Debug)]
enum Phase {
    /// Waiting for the header of the PROXY protocol.
    Opening { until: Instant },
    /// Waiting for a request's head.
    Reading,
    /// A request is being answered.
    Answering(Source),
    /// The last answer has to leave yet.
    Closing(CloseReason),
    /// Our side is closed; what the client still sends is read and thrown away, within limits.
    Lingering(Box<Linger>),
    /// To be dropped.
    Closed,
}

/// Where the answer comes from.
#[derive(Debug)]
enum Source {
    /// A handler is at work.
    Call(Box<Waiting>),
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
    coding: Coding,
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
    /// It has more to do, when the others have had their turn.
    Enough,
    Stuck,
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
            transport,
            peer,
            local,
            service,
            http: http1::Connection::new(cx.settings.http.clone(), cx.now),
            phase: Phase::Reading,
            outbox: Outbox::default(),
            record: None,
            // The first bytes often come with the connection; an attempt tells.
            readable: true,
            writable: true,
            ending: false,
            broken: false,
            patience: Patience::new(cx.settings.limits.write_allowance()),
            permit,
            in_line: false,
        }
    }

    pub(super) fn socket_mut(&mut self) -> &mut mio::net::TcpStream {
        self.transport.socket_mut()
    }

    /// Takes note of what the socket is ready for.
    pub(super) fn ready(&mut self, event: &mio::event::Event) {
        self.readable |= event.is_readable();
        self.writable |= event.is_writable();
        self.ending |= event.is_read_closed();
        self.broken |= event.is_error();
    }

    /// When this connection has to be looked at, if nothing happens until then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let write = self.patience.deadline();
        let whole = self.record.as_ref().and_then(|record| record.deadline);
        let read = match &self.phase {
            Phase::Opening { until } => Some(*until),
            Phase::Lingering(linger) => Some(linger.deadline()),
            Phase::Reading | Phase::Answering(_) => self.http.deadline(),
            Phase::Closing(_) | Phase::Closed => None,
        };
        let handshake = self.transport.deadline();
        [read, write, whole, handshake].into_iter().flatten().min()
    }

    /// Acts on the deadline.
    pub(super) fn expire(&mut self, cx: &mut Context) {
        let now = cx.now;
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|at| now >= at);
        if is_over(self.patience.deadline()) && !self.takes_some(cx) {
            self.abandon(cx, "the client takes nothing, or too little");
            // What the kernel still holds for it goes as well.
            self.reset();
            return;
        }
        if is_over(self.record.as_ref().and_then(|record| record.deadline)) {
            self.overdue(cx);
            return;
        }
        if is_over(self.transport.deadline()) {
            tracing::debug!("{}: the TLS handshake takes too long", self.peer);
            self.phase = Phase::Closed;
            return;
        }
        match &self.phase {
            Phase::Opening { until } if now >= *until => self.phase = Phase::Closed,
            Phase::Lingering(linger) if now >= linger.deadline() => self.phase = Phase::Closed,
            Phase::Reading | Phase::Answering(_) => {
                if let Some(Expiry::Close(reason)) = self.http.expired(now) {
                    self.phase = Phase::Closing(reason);
                }
            }
            _ => {}
        }
    }

    /// Whether the client has taken enough of its answer after all, to be waited for again.
    ///
    /// The kernel says that there is room only when a third of its buffer is free, which can be
    /// megabytes: more than a slow client may take in the time that it has. So an attempt tells.
    fn takes_some(&mut self, cx: &mut Context) -> bool {
        self.writable = true;
        self.flush(cx);
        self.patience.deadline().is_none_or(|at| cx.now < at)
    }

    /// Takes no further request.
    pub(super) fn stop(&mut self) {
        match &mut self.phase {
            Phase::Opening { .. } => self.phase = Phase::Closed,
            Phase::Lingering(linger) => linger.stop(),
            _ => {}
        }
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

    /// Reads the socket once, if there may be something and somebody wants it.
    fn receive(&mut self, cx: &mut Context) -> Progress {
        if self.broken && self.is_answering() {
            // Nothing may be wanted of it just now, and so a read would not tell.
            self.abandon(cx, "the client broke the connection");
            return Progress::Made;
        }
        let wanted = match self.phase {
            Phase::Reading | Phase::Answering(_) => self.http.wants_bytes(),
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
                let http = &mut self.http;
                self.transport
                    .receive(&mut cx.scratch, |bytes| http.receive(bytes, cx.now))
            }
        };
        match result {
            Ok(Received::Bytes { more }) => {
                // A read that leaves room has emptied the socket: what comes later is an edge of
                // its own. Only the end of the stream comes without one.
                self.readable = more || self.ending;
                Progress::Made
            }
            Ok(Received::End) => {
                self.readable = false;
                self.http.receive_end();
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

    /// Does what the phase has to do next.
    fn step(&mut self, cx: &mut Context) -> Progress {
        match &self.phase {
            Phase::Reading => self.read_head(cx),
            Phase::Answering(Source::Call(_)) => self.exchange(cx),
            Phase::Answering(Source::Queued) if self.all_sent() => {
                self.end_answer(cx);
                Progress::Made
            }
            Phase::Answering(Source::Queued) => {
                // A client that sends all of its body before it reads would wait for this.
                let _ = self.http.discard_body();
                Progress::Stuck
            }
            Phase::Closing(reason) if self.all_sent() => self.close(*reason, cx.now),
            Phase::Opening { .. } | Phase::Closing(_) | Phase::Lingering(_) | Phase::Closed => {
                Progress::Stuck
            }
        }
    }

    // Reading.

    fn read_head(&mut self, cx: &mut Context) -> Progress {
        match self.http.next_request(cx.now) {
            None => Progress::Stuck,
            Some(Incoming::Request(head)) => {
                self.begin(&head, cx);
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
            Some(Incoming::Closed(reason)) => {
                self.phase = match reason {
                    // The client may be in the middle of a body, its answer on the way.
                    CloseReason::BodyUnread | CloseReason::BodyFailed(_) => Phase::Closing(reason),
                    // All answers have left, and nothing that came is unanswered.
                    _ => {
                        self.farewell();
                        Phase::Closed
                    }
                };
                Progress::Made
            }
        }
    }

    /// Begins to answer a request.
    fn begin(&mut self, head: &Arc<RequestHead>, cx: &mut Context) {
        let has_body = head.body() != RequestBody::None;
        let mut record = Record::new(head.clone(), cx.now);
        record.deadline = cx.now.checked_add(cx.settings.limits.request_timeout);
        let scheme = self.transport.scheme();
        let origin = Origin::of(head, self.peer, self.local, scheme, cx.proxies());
        record.client = (origin.peer != self.peer).then_some(origin.peer);
        let start = match self.service {
            Service::Site => cx.start(head.clone(), origin),
            Service::Redirect => Start::Answer(cx.redirect(head, &origin)),
            Service::Refusal => {
                self.http.stop();
                Start::Answer(cx.error(400, "This port speaks TLS: ask for it with https://."))
            }
        };
        let answer = match start {
            Start::Answer(answer) => answer,
            Start::Refused { answer, by } => {
                record.target = Some(by);
                answer
            }
            Start::Call {
                call,
                exchange,
                handler,
            } => {
                record.target = Some(Target::Handler(handler));
                self.record = Some(Box::new(record));
                self.phase = Phase::Answering(Source::Call(Box::new(Waiting {
                    call,
                    exchange,
                    body_done: !has_body,
                    head_sent: false,
                    coding: Coding::of(head, cx),
                })));
                return;
            }
        };
        self.record = Some(Box::new(record));
        self.answer(answer, cx);
    }
}
