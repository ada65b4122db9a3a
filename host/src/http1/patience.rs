//! How long a body may keep its reader waiting.

use core::time::Duration;
use std::time::Instant;

use super::limits::Limits;

/// A store of waiting time: waiting uses it up, bytes fill it again.
///
/// Only time in which somebody waits counts, so a handler that doesn't read costs its client
/// nothing. What it comes to: the longest silence is `body_patience`, and whoever sends below
/// `body_rate_bytes_per_second` for long is cut off, however evenly it trickles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    left: Duration,
    waiting_since: Option<Instant>,
}

impl Patience {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            left: limits.body_patience,
            waiting_since: None,
        }
    }

    /// Somebody waits for bytes from now on, if nobody did before.
    pub(super) fn wait(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// So many bytes came.
    pub(super) fn arrived(&mut self, bytes: usize, now: Instant, limits: &Limits) {
        if let Some(since) = self.waiting_since.take() {
            self.left = self
                .left
                .saturating_sub(now.saturating_duration_since(since));
        }
        let rate = u64::from(limits.body_rate_bytes_per_second.max(1));
        let nanoseconds = (bytes as u64).saturating_mul(1_000_000_000) / rate;
        self.left = self
            .left
            .saturating_add(Duration::from_nanos(nanoseconds))
            .min(limits.body_patience);
    }

    /// When it is used up, if nothing comes. None while nobody waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting_since?.checked_add(self.left)
    }
}
