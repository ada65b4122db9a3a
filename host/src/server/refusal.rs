//! What a connection too many is told, and what the log says of those and of requests too many.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::context::Context;
use crate::gateway::Failure;

/// How often the log says that connections or requests were refused. Who floods the server is not
/// to flood the log as well.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What the client reads.
const BODY: &str = "There are too many connections from your address. Close some, or come back.\n";

/// What happens too often to be told each time.
#[derive(Debug, Default)]
struct Throttle {
    reported: Option<Instant>,
    /// Since then.
    count: u64,
}

impl Throttle {
    /// Counts one. Says how many there were since the last time that it said so, if it is time to
    /// tell.
    fn note(&mut self, now: Instant) -> Option<u64> {
        self.count += 1;
        let is_recent = |at| now.saturating_duration_since(at) < REPORT_INTERVAL;
        if self.reported.is_some_and(is_recent) {
            return None;
        }
        self.reported = Some(now);
        Some(std::mem::take(&mut self.count))
    }
}

/// Connections that one reactor has refused.
#[derive(Debug, Default)]
pub(super) struct Refusals(Throttle);

/// Requests that one reactor has turned away, by the reason.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    busy: Throttle,
    no_room: Throttle,
    no_memory: Throttle,
}

impl TurnedAway {
    /// Takes note of a request to `handler` that was turned away, and says so in the log, now or
    /// with the next. `false` if the failure is of another kind.
    pub(super) fn note(&mut self, handler: &str, failure: &Failure, now: Instant) -> bool {
        let throttle = match failure {
            Failure::Busy(_) => &mut self.busy,
            Failure::NoRoom => &mut self.no_room,
            Failure::NoMemory(_) => &mut self.no_memory,
            _ => return false,
        };
        match throttle.note(now) {
            Some(1) => tracing::warn!(handler, "{failure}"),
            Some(count) => tracing::warn!(
                handler,
                "{failure}, and {} others since the last such line, of all handlers",
                count - 1
            ),
            None => {}
        }
        true
    }
}

impl Refusals {
    /// Takes note of one, and says so in the log, now or with the next.
    pub(super) fn note(&mut self, peer: SocketAddr, cx: &Context) {
        let Some(count) = self.0.note(cx.now) else {
            return;
        };
        let limits = &cx.settings.limits;
        tracing::warn!(
            "too many connections (limits.connections = {}, limits.connections-per-address = {}): \
             refused {count} since the last such line, this one from {}",
            limits.connections_count,
            limits.connections_per_address_count,
            peer.ip().to_canonical()
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_told_once_in_an_interval() {
        let mut throttle = Throttle::default();
        let now = Instant::now();
        assert_eq!(throttle.note(now), Some(1));
        assert_eq!(throttle.note(now), None);
        assert_eq!(throttle.note(now), None);
        assert_eq!(throttle.note(now + REPORT_INTERVAL), Some(3));
    }
}
