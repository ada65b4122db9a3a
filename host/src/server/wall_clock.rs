//! The wall time of a handler, without the time of its client.
//!
//! Time in which a handler waits for its client, for bytes of a body or for space to send, is
//! charged to the client's limits: `limits.body-timeout` and `body-rate`, `write-timeout` and
//! `write-rate`, and `request-timeout` for the total. Data sent to the client resets the clock: a
//! stream of events that makes progress can run on.

use std::time::{Duration, Instant};

use crate::gateway::Exchange;

/// The remaining wall time of a request's handler.
#[derive(Debug)]
pub(super) struct WallClock {
    limit: Duration,
    state: ClockState,
}

#[derive(Debug)]
enum ClockState {
    /// The handler is running: the deadline.
    Running(Instant),
    /// The handler waits for its client: the remaining time.
    Stopped(Duration),
}

impl WallClock {
    /// Creates a clock that runs from `now` on.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            state: ClockState::Running(now + limit),
        }
    }

    /// Returns the budget: how long a handler may work without sending data to its client.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Returns the deadline; `None` while the handler waits for its client.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            ClockState::Running(deadline) => Some(deadline),
            ClockState::Stopped(_) => None,
        }
    }

    /// Must be called before the handler continues.
    pub(super) fn go_on(&mut self, exchange: &Exchange, now: Instant) {
        if let ClockState::Stopped(left) = self.state {
            // The handler waits until data is sent, so checking for progress here is enough.
            let left = if exchange.take_progress() {
                self.limit
            } else {
                left
            };
            self.state = ClockState::Running(now + left);
        }
    }

    /// Must be called when the handler pauses.
    pub(super) fn rest(&mut self, exchange: &Exchange, now: Instant) {
        if let ClockState::Running(deadline) = self.state
            && exchange.waits_for_client()
        {
            self.state = ClockState::Stopped(deadline.saturating_duration_since(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use super::*;
    use crate::gateway::wakes::poll;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn time_in_which_a_body_is_waited_for_is_not_counted() {
        let exchange = Exchange::new(true);
        let start = Instant::now();
        let mut clock = WallClock::new(LIMIT, start);
        let mut now = start;
        for _ in 0..10 {
            // A second of work and a minute of waiting.
            now += Duration::from_secs(1);
            assert!(poll(pin!(exchange.read(1)), &Arc::default()).is_pending());
            clock.rest(&exchange, now);
            assert_eq!(clock.deadline(), None);
            now += Duration::from_secs(60);
            exchange.push_body(|into| into.push(b'x'));
            clock.go_on(&exchange, now);
            assert!(poll(pin!(exchange.read(1)), &Arc::default()).is_ready());
        }
        assert_eq!(
            clock.deadline(),
            Some(now + LIMIT - Duration::from_secs(10))
        );
    }

    #[test]
    fn a_sleep_is_counted_also_of_one_that_has_waited_for_its_client() {
        let exchange = Exchange::new(true);
        let start = Instant::now();
        let mut clock = WallClock::new(LIMIT, start);
        clock.rest(&exchange, start);
        assert_eq!(clock.deadline(), Some(start + LIMIT));
        assert!(poll(pin!(exchange.read(1)), &Arc::default()).is_pending());
        exchange.push_body(|into| into.push(b'x'));
        // The body is available, and the handler waits for something else.
        clock.rest(&exchange, start);
        assert_eq!(clock.deadline(), Some(start + LIMIT));
    }

    #[test]
    fn what_has_left_begins_the_time_anew_and_what_has_not_does_not() {
        let exchange = Exchange::new(false);
        let start = Instant::now();
        let mut clock = WallClock::new(LIMIT, start);
        let second = Duration::from_secs(1);
        let mut send = pin!(exchange.send_block(b"event".to_vec()));
        assert!(poll(send.as_mut(), &Arc::default()).is_pending());
        clock.rest(&exchange, start + 20 * second);
        clock.go_on(&exchange, start + 40 * second);
        assert_eq!(clock.deadline(), Some(start + 50 * second), "10 were left");
        clock.rest(&exchange, start + 45 * second);
        drop(exchange.take_output());
        exchange.sent();
        clock.go_on(&exchange, start + 60 * second);
        assert_eq!(clock.deadline(), Some(start + 60 * second + LIMIT));
    }
}
