//! The rejection of connections beyond the limit, and log messages about rejected connections and
//! requests.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::options::Limits;
use crate::gateway::{Failure, RequestId};
use crate::http1::Stamp;

/// The minimum interval between log messages about rejections, so that a flood of requests doesn't
/// flood the log.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The text for the client.
const BODY: &str = "Too many connections from your address. Close some, or try again later.";

/// Limits the rate of a frequent log message.
#[derive(Debug, Default)]
struct Throttle {
    reported: Option<Instant>,
    /// The number of events since the last message.
    count: u64,
}

impl Throttle {
    /// Counts an event. Returns the number since the last message if a message is due.
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

/// The rejected connections of one reactor.
#[derive(Debug, Default)]
pub(super) struct Refusals(Throttle);

/// The rejected requests of one reactor, by reason.
#[derive(Debug, Default)]
pub(super) struct TurnedAway {
    busy: Throttle,
    no_room: Throttle,
    no_memory: Throttle,
    no_descriptor: Throttle,
}

impl TurnedAway {
    /// Records that a request to `handler` was rejected. Logs it now or with the next one. Returns
    /// `false` if the failure is of another kind.
    pub(super) fn note(&mut self, handler: &str, failure: &Failure, now: Instant) -> bool {
        let throttle = match failure {
            Failure::Busy(_) => &mut self.busy,
            Failure::NoRoom => &mut self.no_room,
            Failure::NoMemory(_) => &mut self.no_memory,
            Failure::NoDescriptor(_) => &mut self.no_descriptor,
            _ => return false,
        };
        match throttle.note(now) {
            Some(1) => tracing::warn!(handler, "{failure}"),
            Some(count) => tracing::warn!(
                handler,
                "{failure}, and {} more since the last such line, of all handlers",
                count - 1
            ),
            None => {}
        }
        true
    }
}

impl Refusals {
    /// Records a rejected connection. Logs it now or with the next one.
    pub(super) fn note(&mut self, peer: SocketAddr, limits: &Limits, now: Instant) {
        let Some(count) = self.0.note(now) else {
            return;
        };
        tracing::warn!(
            "too many connections (limits.connections = {}, limits.connections-per-address = {}): \
             refused {count} since the last such line, this one from {}",
            limits.connections_count,
            limits.connections_per_address_count,
            peer.ip().to_canonical()
        );
    }
}

/// Writes the response for a client whose address is at its limit. It is sent before the request is
/// read, so that a client can't keep the connection by delaying its request.
pub(super) fn answer(out: &mut Vec<u8>, stamp: &Stamp<'_>, id: &RequestId) {
    let body = format!("{BODY} (Request {id})\n");
    out.extend_from_slice(b"HTTP/1.1 503 Service Unavailable\r\nDate: ");
    out.extend_from_slice(stamp.date);
    if let Some(server) = stamp.server {
        out.extend_from_slice(b"\r\nServer: ");
        out.extend_from_slice(server.as_bytes());
    }
    let rest = format!(
        "\r\nRetry-After: 1\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
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
