//! A place where connections come in: a listening socket, and whether it is worth asking.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

use super::connection::Service;

/// How long no connection is accepted after the system refused one: for lack of descriptors, most
/// likely, and trying at once again would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often the log is told of connections that could not be accepted, while that goes on.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// A listening socket of one reactor.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    accepting: Accepting,
    /// Nothing is said of connections that could not be accepted before this.
    quiet_until: Option<Instant>,
    /// What is served to those who come in here.
    pub(super) service: Service,
}

/// Whether there may be connections to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// The kernel will say when there are.
    Wait,
    /// There may be more.
    Again,
    /// Not before this.
    Pause(Instant),
}

impl Listener {
    pub(super) fn new(listener: TcpListener, service: Service) -> Self {
        Self {
            listener,
            accepting: Accepting::Wait,
            quiet_until: None,
            service,
        }
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.listener, token, Interest::READABLE)
    }

    /// The kernel says that there are connections.
    pub(super) fn ready(&mut self) {
        self.accepting = Accepting::Again;
    }

    /// Whether there may be connections to accept now.
    pub(super) fn is_busy(&self) -> bool {
        self.accepting == Accepting::Again
    }

    /// Until when no connection is accepted.
    pub(super) fn pause(&self) -> Option<Instant> {
        match self.accepting {
            Accepting::Pause(until) => Some(until),
            Accepting::Wait | Accepting::Again => None,
        }
    }

    /// The next connection, if there is one to be had.
    pub(super) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        match self.accepting {
            Accepting::Again => {}
            Accepting::Pause(until) if now >= until => {}
            Accepting::Wait | Accepting::Pause(_) => return None,
        }
        self.accepting = Accepting::Again;
        loop {
            match self.listener.accept() {
                Ok(connection) => return Some(connection),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.accepting = Accepting::Wait;
                        return None;
                    }
                    // The client left while it waited, or a signal came: the next one is fine.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        self.complain(&error, now);
                        self.accepting = Accepting::Pause(now + ACCEPT_PAUSE);
                        return None;
                    }
                },
            }
        }
    }

    /// Says that a connection could not be accepted, unless that was said a moment ago.
    fn complain(&mut self, error: &io::Error, now: Instant) {
        if self.quiet_until.is_none_or(|until| now >= until) {
            tracing::warn!("could not accept a connection: {error}; trying again");
            self.quiet_until = Some(now + COMPLAINT_PAUSE);
        }
    }

    /// Takes no further connection.
    pub(super) fn close(mut self, registry: &Registry) {
        // Closing it takes it out of the epoll set as well; failing changes nothing.
        let _ = registry.deregister(&mut self.listener);
    }
}
