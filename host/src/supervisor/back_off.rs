//! How long a worker that has died stays away. No clock in here.

use std::time::Duration;

/// What a worker waits for that died soon after it came: the processor's time is the others' too.
const FIRST: Duration = Duration::from_millis(100);

/// What it waits for at most, doubling from one death to the next: long enough that starting over
/// and over costs the others little, and short enough that whoever repairs the cause need not wait.
const MOST: Duration = Duration::from_secs(5);

/// A worker that has lived for so long died of something new.
const STEADY: Duration = Duration::from_secs(10);

/// A worker's deaths in a row.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    /// What it waited for the last time; none if it has been steady.
    last: Option<Duration>,
}

impl BackOff {
    /// It has died again after it had lived for some time. Says when it may come back.
    pub(super) fn died(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY {
            self.last = None;
            return Duration::ZERO;
        }
        let next = self.last.map_or(FIRST, |last| (last * 2).min(MOST));
        self.last = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_dies_at_once_waits_twice_as_long_each_time_up_to_a_limit() {
        let mut back_off = BackOff::default();
        let waits: Vec<u128> = (0..9)
            .map(|_| back_off.died(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn who_has_lived_for_long_comes_back_at_once_and_starts_over() {
        let mut back_off = BackOff::default();
        assert_eq!(back_off.died(STEADY), Duration::ZERO);
        back_off.died(Duration::ZERO);
        back_off.died(STEADY - Duration::from_millis(1));
        assert_eq!(back_off.died(STEADY), Duration::ZERO);
        assert_eq!(back_off.died(Duration::ZERO), FIRST);
    }
}
