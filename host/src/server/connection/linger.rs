//! A lingering close: the server has ended its side, and keeps reading for a while so that a reset
//! doesn't discard the response (RFC 9112 section 9.6).
//!
//! It has three limits: the client's rate, the time, and the number of bytes. So a client that
//! sends single bytes keeps its descriptor no longer than a silent one, and a client that floods is
//! cut off.

use std::time::{Duration, Instant};

use crate::http1::{Allowance, CloseReason, Patience};

/// The maximum silence of a client during a lingering close: enough for the response to arrive,
/// with a margin. It is the total time for a client that is not in the middle of a request body.
const LINGER_SILENCE: Duration = Duration::from_secs(2);

/// The maximum time for a client to continue sending a request body: many clients read the response
/// only after sending all of it. The value of nginx.
const LINGER_TIME: Duration = Duration::from_secs(30);

/// The rate below which a sending client uses up its [`LINGER_SILENCE`], in bytes per second: an
/// eighth of a slow uplink (1 Mbit/s). A slower client could not finish its upload within
/// [`LINGER_TIME`].
const LINGER_RATE_BYTES_PER_SECOND: u32 = 16 * 1024;

/// The maximum number of bytes that a client may send: twice the default maximum body, so that a
/// client with a body that is too long still receives its 413.
const LINGER_BYTES: u64 = 128 * 1024 * 1024;

const ALLOWANCE: Allowance = Allowance {
    most: LINGER_SILENCE,
    rate_bytes_per_second: LINGER_RATE_BYTES_PER_SECOND,
};

/// The remaining limits of a lingering close.
#[derive(Debug)]
pub(super) struct Linger {
    patience: Patience,
    end: Instant,
    bytes_left: u64,
}

impl Linger {
    /// Creates the limits for a connection that closes for this reason and has sent its last byte
    /// at `now`.
    pub(super) fn new(reason: CloseReason, now: Instant) -> Self {
        let longest = match reason.leaves_body() {
            true => LINGER_TIME,
            false => LINGER_SILENCE,
        };
        let mut patience = Patience::new(ALLOWANCE);
        patience.wait(now);
        Self {
            patience,
            end: now + longest,
            bytes_left: LINGER_BYTES,
        }
    }

    /// Returns when the lingering ends if nothing arrives before.
    pub(super) fn deadline(&self) -> Instant {
        self.patience
            .deadline()
            .map_or(self.end, |at| at.min(self.end))
    }

    /// Records discarded bytes. Returns whether to keep reading.
    pub(super) fn received(&mut self, bytes: usize, now: Instant) -> bool {
        let bytes = bytes as u64;
        self.patience.moved(bytes, now, ALLOWANCE);
        self.patience.wait(now);
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.bytes_left > 0 && now < self.deadline()
    }

    /// Reduces the remaining time to the allowed silence, because the server stops.
    pub(super) fn stop(&mut self) {
        self.end = self.deadline();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{BodyError, Rejection};

    const REJECTED: CloseReason = CloseReason::Rejected(Rejection {
        status: 400,
        why: "it is malformed",
    });

    /// Returns how long a client is read from if it sends `bytes` bytes per interval.
    fn lasts(reason: CloseReason, bytes: usize, interval: Duration) -> Duration {
        let start = Instant::now();
        let mut now = start;
        let mut linger = Linger::new(reason, now);
        loop {
            now += interval;
            if now >= linger.deadline() {
                return linger.deadline() - start;
            }
            if !linger.received(bytes, now) {
                return now - start;
            }
        }
    }

    #[test]
    fn a_dripping_client_gets_hardly_more_time_than_a_silent_one() {
        let second = Duration::from_secs(1);
        for (bytes, interval) in [
            (1, second),
            (1, second / 100),
            (10, second / 10),
            (500, second),
        ] {
            let lasted = lasts(REJECTED, bytes, interval);
            assert!(lasted >= LINGER_SILENCE, "{bytes} bytes: {lasted:?}");
            assert!(
                lasted < LINGER_SILENCE + LINGER_SILENCE / 2,
                "{bytes} bytes: {lasted:?}"
            );
        }
    }

    #[test]
    fn an_upload_goes_on_up_to_the_time_limit() {
        let tenth = Duration::from_millis(100);
        assert_eq!(lasts(REJECTED, 10_000, tenth), LINGER_TIME);
        let too_large = CloseReason::BodyFailed(BodyError::TooLarge);
        assert_eq!(lasts(too_large, 10_000, tenth), LINGER_TIME);
    }

    #[test]
    fn a_client_that_is_in_no_body_gets_no_more_time_by_sending() {
        let tenth = Duration::from_millis(100);
        let too_slow = CloseReason::BodyFailed(BodyError::TooSlow);
        let head_too_slow = CloseReason::Rejected(Rejection {
            status: 408,
            why: "it is too slow",
        });
        for reason in [
            CloseReason::PeerAsked,
            CloseReason::Refused,
            too_slow,
            head_too_slow,
        ] {
            assert_eq!(lasts(reason, 100_000, tenth), LINGER_SILENCE, "{reason}");
        }
    }

    #[test]
    fn a_flood_ends_at_the_limit_of_bytes() {
        let now = Instant::now();
        let mut linger = Linger::new(REJECTED, now);
        let half = usize::try_from(LINGER_BYTES / 2).expect("it fits");
        assert!(linger.received(half, now));
        assert!(!linger.received(half, now));
    }

    #[test]
    fn a_server_that_stops_waits_for_no_upload() {
        let start = Instant::now();
        let mut linger = Linger::new(REJECTED, start);
        linger.stop();
        let later = start + LINGER_SILENCE / 2;
        assert!(linger.received(1_000_000, later));
        assert_eq!(linger.deadline(), start + LINGER_SILENCE);
    }
}
