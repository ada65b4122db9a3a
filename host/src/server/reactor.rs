//! One thread's event loop: its sockets, calls and deadlines. The whole loop is in
//! [`Reactor::run`].
//!
//! Each turn of the loop waits for the kernel (without blocking if a call can continue), serves the
//! ready sockets, continues the woken calls, and handles expired deadlines. Calls run at once for a
//! short time; after that, they wait for their turn among the handlers (see `ready`). Computing
//! calls have a separate queue, and one of them continues in each turn, for at most a tick (see
//! `engine`): however many there are, all other work waits for one tick only. Of the calls to one
//! handler, only one is in that queue until it has computed for a long time (see `lanes`).

mod ends;
mod running;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mio::net::TcpStream;
use mio::{Events, Interest, Token};
use slab::Slab;

use super::admission::Admit;
use super::calls::Calls;
use super::connection::{Connection, Turn};
use super::context::Context;
use super::deadlines::Deadlines;
use super::inbox::{Inbox, Message};
use super::lanes::Lanes;
use super::listener::{Listener, Service};
use super::ready::{Ready, TurnBudget};
use super::refusal::Refusals;
use super::shared::Shared;
use super::tls::HANDSHAKE_TIMEOUT;
use super::transport::Transport;
use crate::engine::{Program, Working};
use crate::gateway::Failure;
use crate::metrics::Counter;
use crate::registry::Handler;

const WAKER: Token = Token(usize::MAX);

/// The token of the first listener; the other listeners follow. Connections have the tokens from
/// zero on.
const FIRST_LISTENER: usize = usize::MAX - MAX_LISTENERS;

/// The maximum number of listeners of a reactor: one for the site and one for redirects to it, for
/// each thread of 1,024 processes that an earlier server had.
const MAX_LISTENERS: usize = 2 * 1024 * 1024;

/// The maximum number of events to take from the kernel at a time. The rest follows in the next
/// turn.
const EVENTS: usize = 1024;

/// The maximum number of connections to accept before other work gets its turn: each takes some
/// twenty microseconds.
const ACCEPTS_PER_TURN: usize = 32;

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
    /// Calls that can run, beyond those that the turn runs at once.
    ready: Ready,
    /// What the turn may run at once.
    turn: TurnBudget,
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
        let now = Instant::now();
        let cx = Context::new(shared.clone(), Calls::new(inbox.clone()), now);
        Ok(Self {
            poll,
            inbox,
            listeners,
            connections: Slab::new(),
            connection_deadlines: Deadlines::default(),
            call_deadlines: Deadlines::default(),
            again: Vec::new(),
            ready: Ready::default(),
            turn: TurnBudget::new(now),
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
            self.turn = TurnBudget::new(self.cx.now);
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
                    Message::Drain { idle_time } => self.drain(idle_time),
                    Message::Pulse => self.inbox.confirm_pulse(),
                    Message::EndStreams => self.end_streams(),
                    Message::Stop => return self.stop(),
                }
            }
            self.inbox.take_woken(&mut woken);
            for call in woken.drain(..) {
                self.wake_call(call);
            }
            self.run_ready();
            self.compute();
            self.accept();
            self.expire();
            self.cx.flush_log();
            if self.draining && self.connections.is_empty() && self.cx.calls.is_empty() {
                return Ok(());
            }
        }
    }

    /// Returns how long to wait for the kernel.
    fn timeout(&self) -> Option<Duration> {
        let busy = !self.again.is_empty()
            || !self.computing.is_empty()
            || !self.ready.is_empty()
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
                match tls.session(self.cx.now + HANDSHAKE_TIMEOUT) {
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
