//! The time that a peer may take: to send its request body, or, in the server, to receive its
//! response.

use core::time::Duration;
use std::time::Instant;

/// A budget of waiting time: waiting uses it up, transferred bytes restore it.
///
/// Only time spent waiting for the peer counts, so a handler that doesn't read costs its client
/// nothing. The longest silence is [`most`](Allowance::most), and a peer that stays below the rate
/// runs out of time, however evenly it sends.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    left: Duration,
    waiting_since: Option<Instant>,
}

/// The parameters of [`Patience`].
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// The longest silence, and the maximum of the budget.
    pub most: Duration,
    /// The number of bytes that restore one second.
    pub rate_bytes_per_second: u32,
}

impl Patience {
    /// Creates a full budget. Nothing waits yet.
    pub fn new(allowance: Allowance) -> Self {
        Self {
            left: allowance.most,
            waiting_since: None,
        }
    }

    /// Starts waiting for bytes, unless a wait is already in progress.
    pub fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Records that `bytes` were transferred, which ends the wait.
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

    /// Returns when the budget runs out if nothing is transferred. `None` unless waiting.
    pub fn deadline(&self) -> Option<Instant> {
        self.waiting_since?.checked_add(self.left)
    }
}
