//! One thread's event loop: its sockets, calls and deadlines. The whole loop is in
//! [`Reactor::run`].
//!
//! Each turn of the loop waits for the kernel (without blocking if a call can continue), serves the
//! ready sockets, continues the woken calls, and handles expired deadlines. Computing calls have a
//! separate queue, and one of them continues in each turn, for at most a tick (see `engine`):
//! however many there are, all other work waits for one tick only. Of the calls to one handler,
//! only one is in that queue until it has computed for a long time (see `lanes`).

mod ends;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use slab::Slab;

use super::admission::Admit;
use super::calls::{CallId, Calls, Running};
use super::connection::{Connection, Turn};
use super::context::Context;
use super::deadlines::Deadlines;
use super::inbox::{Inbox, Message};
use super::lanes::{LANE_TIME, LaneRole, Lanes};
use super::listener::{Listener, Service};
use super::record::RequestName;
use super::refusal::Refusals;
use super::shared::Shared;
use super::tls::{HANDSHAKE_TIMEOUT, Session};
use super::transport::Transport;
use crate::dev::{Failed, Report};
use crate::engine::{Finished, Program, Working};
use crate::gateway::Failure;
use crate::log;
use crate::metrics::Counter;
use crate::permits::Permits;
use crate::registry::Handler;

const WAKER: Token = Token(usize::MAX);

/// The token of the first listener; the other listeners follow. Connections have the tokens from
/// zero on.
const FIRST_LISTENER: usize = usize::MAX - DOORS;

/// The maximum number of listeners of a reactor: one for the site, one for redirects to it.
const DOORS: usize = 2;

/// The maximum number of events to take from the kernel at a time. The rest follows in the next
/// turn.
const EVENTS: usize = 1024;

/// The maximum number of connections to accept before other work gets its turn.
const ACCEPTS_PER_TURN: usize = 256;

/// The time for computing calls in a turn, before the kernel is polled again: as long as one of
/// them runs until it is made to yield. All queued calls that are short run in one turn: otherwise
/// some would always be left over and delay those that arrive later.
const COMPUTING_TIME: Duration = Duration::from_millis(1);

/// A thread's event loop.
pub(super) struct Reactor {
    poll: mio::Poll,
    inbox: Arc<Inbox>,
    /// The listening sockets. Empty when draining.
    listeners: Vec<Listener>,
    connections: Slab<Connection>,
    connection_deadlines: Deadlines,
    call_deadlines: Deadlines,
    /// Connections with more to do, without duplicates: a client that keeps sending gets one turn,
    /// like any other.
    again: Vec<usize>,
    /// Calls with more to compute, longest waiting first.
    computing: VecDeque<usize>,
    lanes: Lanes<Handler<Program>>,
    cx: Context,
    working: Working,
    shared: Arc<Shared>,
    refusals: Refusals,
    draining: bool,
}

impl Reactor {
    pub(super) fn new(
        mut listeners: Vec<Listener>,
        shared: Arc<Shared>,
        working: Working,
    ) -> anyhow::Result<Self> {
        let poll = mio::Poll::new().context("could not open an epoll instance")?;
        let registry = poll.registry();
        for (index, listener) in listeners.iter_mut().enumerate() {
            listener
                .register(registry, Token(FIRST_LISTENER + index))
                .context("could not watch a listening socket")?;
        }
        let waker = mio::Waker::new(registry, WAKER).context("could not make a waker")?;
        let inbox = Inbox::new(waker);
        let cx = Context::new(shared.clone(), Calls::new(inbox.clone()), Instant::now());
        Ok(Self {
            poll,
            inbox,
            listeners,
            connections: Slab::new(),
            connection_deadlines: Deadlines::default(),
            call_deadlines: Deadlines::default(),
            again: Vec::new(),
            computing: VecDeque::new(),
            lanes: Lanes::new(),
            cx,
            working,
            shared,
            refusals: Refusals::default(),
            draining: false,
        })
    }

    pub(super) fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    /// Runs until a stop message, or until a drain message and the last response.
    ///
    /// # Errors
    ///
    /// Fails if the kernel can't be polled for events.
    pub(super) fn run(mut self) -> anyhow::Result<()> {
        self.inbox.adopt();
        let mut events = Events::with_capacity(EVENTS);
        let mut woken = Vec::new();
        loop {
            let timeout = self.timeout();
            if timeout != Some(Duration::ZERO) {
                self.working.set(false);
            }
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.context("could not wait for events")?,
            }
            self.cx.now = Instant::now();
            self.cx.date.update(self.cx.now);
            self.cx.settings.refresh();
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(listener) if listener >= FIRST_LISTENER => {
                        if let Some(listener) = self.listeners.get_mut(listener - FIRST_LISTENER) {
                            listener.ready();
                        }
                    }
                    Token(place) => {
                        if let Some(connection) = self.connections.get_mut(place) {
                            connection.ready(event);
                            if !connection.in_line {
                                self.drive(place);
                            }
                        }
                    }
                }
            }
            for place in std::mem::take(&mut self.again) {
                if let Some(connection) = self.connections.get_mut(place) {
                    connection.in_line = false;
                }
                self.drive(place);
            }
            for message in self.inbox.take_messages() {
                match message {
                    Message::Wake(call) => woken.push(call),
                    Message::Events => self.send_events(),
                    Message::Drain => self.drain(),
                    Message::EndStreams => self.end_streams(),
                    Message::Stop => return self.stop(),
                }
            }
            self.inbox.take_woken(&mut woken);
            for call in woken.drain(..) {
                match self.cx.calls.at(call) {
                    Some(running) if running.computing => self.computing.push_back(call),
                    _ => self.poll_call(call),
                }
            }
            self.compute();
            self.accept();
            self.expire();
            self.cx.flush_log();
            if self.draining && self.connections.is_empty() && self.cx.calls.is_empty() {
                return Ok(());
            }
        }
    }

    /// Runs the computing calls, including those that waited for a lane. A call that is made to
    /// yield continues after all others have had their turn.
    fn compute(&mut self) {
        let end = self.cx.now + COMPUTING_TIME;
        for _ in 0..self.cx.calls.len() {
            let Some(call) = self.computing.pop_front() else {
                return;
            };
            self.poll_call(call);
            let yielded = matches!(self.cx.calls.at(call), Some(running) if running.computing);
            if yielded && Instant::now() >= end {
                return;
            }
        }
    }

    /// Returns how long to wait for the kernel.
    fn timeout(&self) -> Option<Duration> {
        let busy = !self.again.is_empty()
            || !self.computing.is_empty()
            || self.inbox.has_woken()
            || self.listeners.iter().any(Listener::is_busy);
        if busy {
            return Some(Duration::ZERO);
        }
        let pause = self.listeners.iter().filter_map(Listener::pause).min();
        let next = [
            self.connection_deadlines.next(),
            self.call_deadlines.next(),
            pause,
        ]
        .into_iter()
        .flatten()
        .min()?;
        let wait = next.saturating_duration_since(Instant::now());
        // The kernel counts milliseconds and must not wake the thread early.
        Some(wait + Duration::from_millis(u64::from(!wait.is_zero())))
    }

    // Connections.

    fn accept(&mut self) {
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                let Some(listener) = self.listeners.get_mut(index) else {
                    return;
                };
                let service = listener.service;
                let Some((socket, peer)) = listener.accept(self.cx.now) else {
                    break;
                };
                self.connected(socket, peer, service);
            }
        }
    }

    fn connected(&mut self, mut socket: TcpStream, peer: SocketAddr, service: Service) {
        Counter::Connections.increment();
        let settings = &self.cx.settings;
        let Some(mut permit) = self.shared.admission.enter(&settings.limits) else {
            Counter::RefusedConnections.increment();
            return self.refusals.note(peer, &settings.limits, self.cx.now);
        };
        let admit = if settings.proxy.trusts(peer.ip()) {
            // A proxy's connections count for its clients.
            Admit::Serve
        } else {
            permit.claim(peer.ip(), &settings.limits)
        };
        if admit != Admit::Serve {
            Counter::RefusedConnections.increment();
            self.refusals.note(peer, &settings.limits, self.cx.now);
        }
        if admit == Admit::Drop {
            return;
        }
        // Responses are written as a whole: waiting for more data would only delay them. An error
        // here only makes the socket slower. A socket without an address is already closed.
        let _ = socket.set_nodelay(true);
        let Ok(local) = socket.local_addr() else {
            return;
        };
        let session = match &self.shared.tls {
            Some(tls) if matches!(service, Service::Site | Service::Dev) => {
                match Session::new(tls.config.clone(), self.cx.now + HANDSHAKE_TIMEOUT) {
                    Ok(session) => Some(Box::new(session)),
                    Err(error) => {
                        tracing::error!("could not begin a TLS session: {error}");
                        return;
                    }
                }
            }
            _ => None,
        };
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut socket, Token(key), interest)
        {
            tracing::warn!("could not watch a connection: {error}");
            return;
        }
        let transport = Transport::new(socket, session);
        let mut connection = Connection::new(transport, peer, local, service, permit, &self.cx);
        if self.cx.settings.proxy.expects_header(peer.ip()) {
            connection = connection.expect_header(self.cx.now);
        }
        let connection = entry.insert(connection);
        if admit == Admit::Reject {
            connection.refuse(&mut self.cx);
        }
        self.drive(key);
    }

    /// Drives a connection, and then the call that it starts.
    fn drive(&mut self, place: usize) {
        // Resets an instance on drop: after its response was sent.
        let mut _finished = None;
        loop {
            let Some(connection) = self.connections.get_mut(place) else {
                return;
            };
            self.cx.place = place;
            let turn = connection.drive(&mut self.cx);
            // Taken first: it must not remain for another connection's turn.
            let started = self.cx.started.take();
            if turn == Turn::Drop {
                self.drop_connection(place);
                if let Some(call) = started {
                    // The client left before the call started: there is nothing to close.
                    self.cx.calls.forget(call);
                }
                return;
            }
            if let Some(at) = connection.deadline() {
                self.connection_deadlines.arm(place, at);
            }
            let Some(call) = started else {
                if turn == Turn::Again && !std::mem::replace(&mut connection.in_line, true) {
                    self.again.push(place);
                }
                return;
            };
            _finished = self.begin_call(call);
        }
    }

    fn drop_connection(&mut self, place: usize) {
        let Some(mut connection) = self.connections.try_remove(place) else {
            return;
        };
        connection.log(&mut self.cx);
        // Closing the socket removes it from the epoll set as well, so an error has no effect.
        let _ = self.poll.registry().deregister(connection.socket_mut());
    }

    // Calls.

    /// Continues a woken call, and the connection that waits for it.
    fn poll_call(&mut self, place: usize) {
        let Some(connection) = self.cx.calls.at(place).map(|running| running.connection) else {
            return;
        };
        let finished = self.run_call(place);
        if let Some(connection) = connection {
            self.drive(connection);
        }
        drop(finished);
    }

    /// Runs a new call, or queues it behind a computing call of the same handler.
    fn begin_call(&mut self, call: CallId) -> Option<Finished> {
        if let Some(running) = self.cx.calls.at_mut(call.place)
            && self.lanes.join(&running.handler, call)
        {
            running.lane_role = LaneRole::Queued;
            running.queued = Permits::try_acquire(&running.handler.usage.queue, usize::MAX);
            if let Some(deadline) = running.clock.deadline() {
                self.call_deadlines.arm(call.place, deadline);
            }
            return None;
        }
        self.run_call(call.place)
    }

    /// Runs a call until it waits, yields or ends.
    fn run_call(&mut self, place: usize) -> Option<Finished> {
        let now = self.cx.now;
        let running = self.cx.calls.at_mut(place)?;
        if running.is_abandoned {
            self.end_call(place, Some(&Failure::ClientGone));
            return None;
        }
        running.clock.go_on(&running.exchange, now);
        self.working.set(true);
        let polled = {
            let _lines = log::gather();
            self.cx.calls.poll(place)
        };
        match polled {
            Poll::Pending => {
                if let Some(running) = self.cx.calls.at_mut(place) {
                    running.clock.rest(&running.exchange, now);
                    if let Some(deadline) = running.clock.deadline() {
                        self.call_deadlines.arm(place, deadline);
                    }
                    self.rank_call(place);
                }
                None
            }
            Poll::Ready(finished) => {
                self.end_call(place, finished.failure.as_ref());
                Some(finished)
            }
        }
    }

    /// Gives the handler's lane to a call that was made to yield, and takes it from a call that
    /// waits or has held it for too long.
    fn rank_call(&mut self, place: usize) {
        let Some(running) = self.cx.calls.at_mut(place) else {
            return;
        };
        let is_short = running.computing && running.call.computed() < LANE_TIME;
        if is_short && running.lane_role != LaneRole::Holder && self.lanes.take(&running.handler) {
            running.lane_role = LaneRole::Holder;
        } else if !is_short && running.lane_role == LaneRole::Holder {
            running.lane_role = LaneRole::Outside;
            let handler = running.handler.clone();
            self.free_lane(&handler);
        }
    }

    /// Starts the next queued call of a handler as a computing call.
    fn free_lane(&mut self, handler: &Arc<Handler<Program>>) {
        while let Some(call) = self.lanes.next(handler) {
            match self.cx.calls.get_mut(call) {
                Some(running) if running.lane_role == LaneRole::Queued => {
                    running.lane_role = LaneRole::Holder;
                    running.queued = None;
                    self.computing.push_back(call.place);
                    return;
                }
                // Its client has left.
                _ => {}
            }
        }
    }

    /// Removes a call. If it failed, notifies the connection that waits for it.
    fn end_call(&mut self, place: usize, failure: Option<&Failure>) {
        let Some(running) = self.cx.calls.remove(place) else {
            return;
        };
        if running.lane_role == LaneRole::Holder {
            self.free_lane(&running.handler);
        }
        let counts = &running.handler.usage.counts;
        counts.computed(running.call.thread_time());
        let Some(failure) = failure else { return };
        counts.failed(failure.cause());
        let name = &*running.handler.name;
        let request = RequestName::new(&running.head, running.request_id.clone());
        self.explain(&running, request.id().as_str(), failure);
        let named_request = request.id().as_str();
        match failure {
            Failure::ClientGone => {
                tracing::debug!(handler = name, named_request, "{}", request.told(failure));
            }
            // The handler could not continue without its client, and correctly reports that: with
            // an exception, or in the way of other kinds of handlers.
            Failure::Exception(_)
            | Failure::Trap(_)
            | Failure::Exit(_)
            | Failure::BadResponse(_)
                if running.exchange.is_client_gone() =>
            {
                tracing::info!(
                    handler = name,
                    named_request,
                    "{}; its client has disconnected",
                    request.told(failure)
                );
            }
            _ if self.cx.turned_away.note(name, failure, self.cx.now) => {}
            _ => {
                let explained = self.cx.explained.as_ref();
                let excerpt = explained.map_or(String::new(), Report::excerpt);
                let told = request.told(failure);
                let failures = &self.shared.failures;
                failures.note(name, failure.cause(), named_request, &told);
                tracing::error!(handler = name, named_request, "{told}{excerpt}");
            }
        }
        if let Some(connection) = running.connection
            && let Some(connection) = self.connections.get_mut(connection)
        {
            connection.call_failed(failure, request.id(), &mut self.cx);
        }
        self.cx.explained = None;
    }

    /// Records the failure of a call for `wasgi dev`.
    fn explain(&mut self, running: &Running, id: &str, failure: &Failure) {
        let Some(dev) = &self.shared.dev else { return };
        if *failure == Failure::ClientGone || running.exchange.is_client_gone() {
            return;
        }
        let report = dev.request_failed(
            Failed {
                handler: &running.handler.name,
                file: &running.handler.file,
                head: &running.head,
                id,
                number: running.exchange.number(),
            },
            failure,
        );
        let connection = running.connection;
        if let Some(connection) = connection.and_then(|one| self.connections.get_mut(one)) {
            connection.explained(&report);
        }
        self.cx.explained = Some(report);
    }

    /// Drives the connections with an event stream.
    fn send_events(&mut self) {
        let streams = self.connections.iter().filter(|(_, one)| one.is_stream());
        let places: Vec<usize> = streams.map(|(place, _)| place).collect();
        for place in places {
            self.drive(place);
        }
    }

    // Deadlines and the end.

    fn expire(&mut self) {
        let now = self.cx.now;
        while let Some(place) = self.connection_deadlines.pop(now) {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.expire(&mut self.cx);
                self.drive(place);
            }
        }
        while let Some(place) = self.call_deadlines.pop(now) {
            let Some(running) = self.cx.calls.at(place) else {
                continue;
            };
            // A call that waits for its client has none.
            let Some(deadline) = running.clock.deadline() else {
                continue;
            };
            if deadline > now {
                self.call_deadlines.arm(place, deadline);
                continue;
            }
            let connection = running.connection;
            let failure = Failure::WallTime(running.clock.limit());
            self.end_call(place, Some(&failure));
            if let Some(connection) = connection {
                self.drive(connection);
            }
        }
    }
}
