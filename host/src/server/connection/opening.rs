//! What comes before a connection's first request: the header of the PROXY protocol, and TLS that
//! turns out to be none. And what comes after its last: bytes that nobody wants.

use std::io::{self, Read};

use super::{Connection, Phase, Service};
use crate::http1::{CloseReason, Rejection};
use crate::server::admission::Admit;
use crate::server::context::Context;
use crate::server::proxy::HEADER_TIMEOUT;
use crate::server::proxy::header::{self, Announced, HEADER_BYTES, Malformed};
use crate::server::tls::Failed;
use crate::server::transport::Received;

impl Connection {
    /// Has the connection begin with a header of the PROXY protocol.
    pub(in crate::server) fn expect_header(mut self, now: std::time::Instant) -> Self {
        self.phase = Phase::Opening {
            until: now + HEADER_TIMEOUT,
        };
        self
    }

    /// Looks for the header, and takes it out of the socket when it is whole. What follows stays
    /// there, for TLS or HTTP to read.
    pub(super) fn read_announcement(&mut self, cx: &mut Context) -> io::Result<Received> {
        let window = cx.scratch.get_mut(..HEADER_BYTES).unwrap_or_default();
        let count = self.transport.socket().peek(window)?;
        let bytes = window.get(..count).unwrap_or_default();
        match header::parse(bytes) {
            Ok(Some((announced, length))) => {
                let header = cx.scratch.get_mut(..length).unwrap_or_default();
                // It was just there, so it is there whole.
                self.transport.socket_mut().read_exact(header)?;
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
            // More of it is an edge of its own, as what is here is not taken.
            Ok(None) if !self.ending && count > 0 => Err(io::ErrorKind::WouldBlock.into()),
            Ok(None) if count == 0 => {
                // It has only seen whether somebody listens.
                self.phase = Phase::Closed;
                Ok(Received::Bytes { more: false })
            }
            Ok(None) => self.refuse_header(Malformed("it ends inside of a PROXY header")),
            Err(malformed) => self.refuse_header(malformed),
        }
    }

    /// A trusted proxy has not said who its client is. Whatever it sends is not answered: who asks
    /// for it is not known.
    fn refuse_header(&mut self, malformed: Malformed) -> io::Result<Received> {
        tracing::warn!(
            "{}: connection from a trusted proxy refused: {}",
            self.peer.ip(),
            malformed.0
        );
        self.phase = Phase::Closed;
        Ok(Received::Bytes { more: false })
    }

    /// The client speaks HTTP where TLS is spoken. Its first request is read, to be answered in the
    /// clear that it is not served.
    pub(super) fn refuse_clear(&mut self, cx: &mut Context, count: usize) {
        self.service = Service::Refusal;
        let bytes = cx.scratch.get(..count).unwrap_or_default();
        self.http.receive(bytes, cx.now);
    }

    /// TLS can't go on. Its alert says so, if it can still be sent.
    pub(super) fn fail_tls(&mut self, cx: &mut Context, failed: &Failed) {
        tracing::debug!("{}: TLS failed: {}", self.peer, failed.0);
        if let Phase::Answering(_) = &self.phase {
            // A best effort: an answer was on its way, and can't be whole any more.
            let _ = self.transport.push();
            self.abandon(cx, "the client broke TLS");
        } else {
            let rejection = Rejection {
                status: 400,
                why: "TLS failed",
            };
            self.phase = Phase::Closing(CloseReason::Rejected(rejection));
        }
    }

    /// Says that nothing follows, where nobody waits for anything.
    pub(super) fn farewell(&mut self) {
        if self.transport.close() {
            // A client that takes nothing will not miss it.
            let _ = self.transport.push();
        }
    }

    /// Reads what a client sends to a connection that has ended, and throws it away.
    pub(super) fn read_rest(&mut self, cx: &mut Context) -> io::Result<Received> {
        let room = cx.scratch.len();
        let count = self.transport.socket_mut().read(&mut cx.scratch)?;
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
