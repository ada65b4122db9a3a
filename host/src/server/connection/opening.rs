//! The start of a connection, before its first request: the PROXY header, and plain HTTP on a TLS
//! port. Also the end, after its last request: input that is discarded.

use std::io::{self, Read};

use super::{Connection, Phase};
use crate::http1::{CloseReason, Rejection};
use crate::server::admission::Admit;
use crate::server::context::Context;
use crate::server::listener::Service;
use crate::server::proxy::HEADER_TIMEOUT;
use crate::server::proxy::header::{self, Announced, HEADER_BYTES, Malformed};
use crate::server::tls::Failed;
use crate::server::transport::Received;

impl Connection {
    /// Makes the connection expect a PROXY header first.
    pub(in crate::server) fn expect_header(mut self, now: std::time::Instant) -> Self {
        self.phase = Phase::Opening {
            until: now + HEADER_TIMEOUT,
        };
        self
    }

    /// Looks for the header, and consumes it from the socket when it is complete. Later bytes
    /// remain in the socket for TLS or HTTP.
    pub(super) fn read_announcement(&mut self, cx: &mut Context) -> io::Result<Received> {
        let window = cx.scratch.get_mut(..HEADER_BYTES).unwrap_or_default();
        let count = self.wire.transport.socket().peek(window)?;
        let bytes = window.get(..count).unwrap_or_default();
        match header::parse(bytes) {
            Ok(Some((announced, length))) => {
                let header = cx.scratch.get_mut(..length).unwrap_or_default();
                // The peek has shown that the whole header is available.
                self.wire.transport.socket_mut().read_exact(header)?;
                if let Announced::Addresses { client, server } = announced {
                    (self.peer, self.local) = (client, server);
                }
                self.phase = Phase::Reading;
                match self.permit.claim(self.peer.ip(), &cx.settings.limits) {
                    Admit::Serve => {}
                    Admit::Reject => self.refuse(cx),
                    Admit::Drop => self.phase = Phase::Closed,
                }
                Ok(Received::Bytes { more: true })
            }
            // The peeked bytes stay in the socket, so more bytes cause another edge.
            Ok(None) if !self.ending && count > 0 => Err(io::ErrorKind::WouldBlock.into()),
            Ok(None) if count == 0 => {
                // A client that only checks whether the port is open.
                self.phase = Phase::Closed;
                Ok(Received::Bytes { more: false })
            }
            Ok(None) => self.refuse_header(Malformed("it ends within a PROXY header")),
            Err(malformed) => self.refuse_header(malformed),
        }
    }

    /// Closes the connection of a trusted proxy that has not announced its client. Sends no
    /// response, because the client is unknown.
    fn refuse_header(&mut self, malformed: Malformed) -> io::Result<Received> {
        tracing::warn!(
            "{}: connection from a trusted proxy rejected: {}",
            self.peer.ip(),
            malformed.0
        );
        self.phase = Phase::Closed;
        Ok(Received::Bytes { more: false })
    }

    /// Handles a client that speaks plain HTTP on a TLS port. Reads its first request, and responds
    /// without TLS that it is not served.
    pub(super) fn refuse_clear(&mut self, cx: &mut Context, count: usize) {
        self.service = Service::Refusal;
        let bytes = cx.scratch.get(..count).unwrap_or_default();
        self.wire.http.receive(bytes, cx.now);
    }

    /// Ends the connection after a TLS failure. Sends the alert, if possible.
    pub(super) fn fail_tls(&mut self, cx: &mut Context, failed: &Failed) {
        tracing::debug!("{}: TLS failed: {}", self.peer, failed.0);
        if let Phase::Answering(_) = &self.phase {
            // A best effort: a response was in progress and can't be completed.
            let _ = self.wire.transport.push();
            self.abandon(cx, "the client broke TLS");
        } else {
            let rejection = Rejection {
                status: 400,
                why: "TLS failed",
            };
            self.phase = Phase::Closing(CloseReason::Rejected(rejection));
        }
    }

    /// Reads and discards input on a connection that has ended.
    pub(super) fn read_rest(&mut self, cx: &mut Context) -> io::Result<Received> {
        let room = cx.scratch.len();
        let count = self.wire.transport.socket_mut().read(&mut cx.scratch)?;
        if let Phase::Lingering(linger) = &mut self.phase
            && (count == 0 || !linger.received(count, cx.now))
        {
            self.phase = Phase::Closed;
        }
        Ok(Received::Bytes {
            more: count == room,
        })
    }
}
