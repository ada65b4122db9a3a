//! How long a peer may keep us waiting: for the bytes of its body, or, in the server, for it to
//! take its answer.

use core::time::Duration;
use std::time::Instant;

/// A store of waiting time: waiting uses it up, bytes fill it again.
///
/// Only time in which somebody waits counts, so a handler that doesn't read costs its client
/// nothing. What it comes to: the longest silence is [`most`](Allowance::most), and whoever is
/// below the rate for long is cut off, however evenly it trickles.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    left: Duration,
    waiting_since: Option<Instant>,
}

/// How much patience there is.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The longest silence, and what the store holds at most.
    pub most: Duration,
    /// So many bytes win a second back.
    pub rate_bytes_per_second: u32,
}

impl Patience {
    /// Full patience, while nobody waits.
    pub fn new(allowance: Allowance) -> Self {
        Self {
            left: allowance.most,
            waiting_since: None,
        }
    }

    /// Somebody waits for bytes from now on, if nobody did before.
    pub fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// So many bytes moved, and nobody waits any more.
    pub fn moved(&mut self, bytes: u64, now: Instant, allowance: Allowance) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self
                .left
                .saturating_sub(now.saturating_duration_since(since));
        }
        let rate = u64::from(allowance.rate_bytes_per_second.max(1));
        let nanoseconds = bytes.saturating_mul(1_000_000_000) / rate;
        self.left = self
            .left
            .saturating_add(Duration::from_nanos(nanoseconds))
            .min(allowance.most);
    }

    /// When it is used up, if nothing moves. None while nobody waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting_since?.checked_add(self.left)
    }
}
