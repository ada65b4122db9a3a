//! How long a failed worker waits before it is restarted. This module does not read the clock.

use std::time::Duration;

/// The delay after a first early death: CPU time spent on restarts is lost to the other workers.
const FIRST: Duration = Duration::from_millis(100);

/// The maximum delay; it doubles from one death to the next. Long enough that constant restarts
/// cost the others little, and short enough that recovery is quick once the cause is fixed.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// The lifetime after which a worker counts as stable, so that its death has a new cause.
const STEADY: Duration = Duration::from_secs(10);

/// A worker's consecutive deaths.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// The last delay, or none if the worker was stable.
    last: Option<Duration>,
}

impl BackOff {
    /// Records a death after a lifetime of `lived`. Returns the delay before the restart.
    pub(super) fn died(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY {
            self.last = None;
            return Duration::ZERO;
        }
        let next = self.last.map_or(FIRST, |last| (last * 2).min(MAX_DELAY));
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_deaths_double_the_delay_up_to_the_maximum() {
        let mut back_off = BackOff::default();
        let waits: Vec<u128> = (0..9)
            .map(|_| back_off.died(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn a_stable_worker_restarts_at_once_and_resets_the_delay() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.died(STEADY), Duration::ZERO);
        back_off.died(Duration::ZERO);
        back_off.died(STEADY - Duration::from_millis(1));
        assert_eq!(back_off.died(STEADY), Duration::ZERO);
        assert_eq!(back_off.died(Duration::ZERO), FIRST);
    }
}
