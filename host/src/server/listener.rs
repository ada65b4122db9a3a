//! A listening socket, and whether connections may be pending on it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};

/// The pause after the system refuses a connection. The likely cause is a lack of descriptors; a
/// retry at once would only waste time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The minimum interval between log messages about failed accepts.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// A listening socket of one reactor.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    accepting: Accepting,
    /// The earliest time of the next log message about a failed accept.
    quiet_until: Option<Instant>,
    /// The service for connections to this socket.
    pub(super) service: Service,
}

/// The service for the requests of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    /// The site.
    Site,
    /// The site, with what `wasgi dev` adds.
    Dev,
    /// Redirects to the site by https.
    Redirect,
    /// An error for clients that don't use TLS on a TLS port.
    Refusal,
}

/// Whether connections may be pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepting {
    /// None: the kernel notifies of the next.
    Wait,
    /// There may be more.
    Again,
    /// Paused until this time.
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

    /// Records the kernel's notification of pending connections.
    pub(super) fn ready(&mut self) {
        self.accepting = Accepting::Again;
    }

    /// Returns whether connections may be pending now.
    pub(super) fn is_busy(&self) -> bool {
        self.accepting == Accepting::Again
    }

    /// Returns the end of the pause, if accepting is paused.
    pub(super) fn pause(&self) -> Option<Instant> {
        match self.accepting {
            Accepting::Pause(until) => Some(until),
            Accepting::Wait | Accepting::Again => None,
        }
    }

    /// Accepts the next connection, if one is pending.
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
                    // The client left the queue, or a signal arrived: try the next one.
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

    /// Logs that accept failed, at most once per interval.
    fn complain(&mut self, error: &io::Error, now: Instant) {
        if self.quiet_until.is_none_or(|until| now >= until) {
            tracing::warn!("can't accept a connection: {error}; retrying");
            self.quiet_until = Some(now + COMPLAINT_PAUSE);
        }
    }

    /// Closes the listening socket.
    pub(super) fn close(mut self, registry: &Registry) {
        // Closing it removes it from the epoll set as well, so an error has no effect.
        let _ = registry.deregister(&mut self.listener);
    }
}
