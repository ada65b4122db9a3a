//! What a connection too many is told, and what the log says of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::context::Context;

/// How often the log says that connections were refused. Who floods the server is not to flood
/// the log as well.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the client reads.
const BODY: &str = "There are too many connections from your address. Close some, or come back.\n";

/// Connections that one reactor has refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    reported: Option<Instant>,
    /// Since then.
    count: u64,
}

impl Refusals {
    /// Takes note of one, and says so in the log, now or with the next.
    pub(super) fn note(&mut self, peer: SocketAddr, cx: &Context) {
        self.count += 1;
        let is_recent = |at| cx.now.saturating_duration_since(at) < REPORT_INTERVAL;
        if self.reported.is_some_and(is_recent) {
            return;
        }
        let limits = &cx.settings.limits;
        tracing::warn!(
            "too many connections (limits.connections = {}, limits.connections-per-address = {}): \
             refused {} since the last such line, this one from {}",
            limits.connections_count,
            limits.connections_per_address_count,
            self.count,
            peer.ip().to_canonical()
        );
        self.reported = Some(cx.now);
        self.count = 0;
    }
}

/// Writes the answer for a client whose address has its number of connections. It is given before
/// the request is read, so that waiting to send one is no way to keep the connection.
pub(super) fn answer(out: &mut Vec<u8>, cx: &Context) {
    out.extend_from_slice(b"HTTP/1.1 503 Service Unavailable\r\nDate: ");
    out.extend_from_slice(cx.date.text());
    if let Some(server) = cx.settings.server() {
        out.extend_from_slice(b"\r\nServer: ");
        out.extend_from_slice(server.as_bytes());
    }
    let rest = format!(
        "\r\nRetry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    out.extend_from_slice(rest.as_bytes());
}
