//! The distribution of many durations.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// The longest duration that can be recorded, in nanoseconds: 73 minutes. Longer ones are recorded
/// as this value.
const MAX_NANOS: u64 = 1 << 42;

/// The precision, in decimal digits: a relative error of at most 0.1 %.
const DIGITS: u8 = 3;

/// Durations and their counts.
#[derive(Clone, Debug)]
pub(super) struct Durations(Histogram<u64>);

impl Durations {
    /// Creates an empty distribution.
    ///
    /// # Errors
    ///
    /// Never fails: the bounds are valid.
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_max(MAX_NANOS, DIGITS)?))
    }

    /// Adds one duration.
    pub(super) fn add(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos);
    }

    /// Adds the counts of another distribution.
    pub(super) fn merge(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// Returns the duration that this percentage did not exceed, or zero without any counts.
    pub(super) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(percent / 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_the_precision() {
        let mut durations = Durations::new().expect("the bounds are valid");
        for ms in 1..=100 {
            durations.add(Duration::from_millis(ms));
        }
        for (percent, ms) in [(50.0, 50.0), (99.0, 99.0), (100.0, 100.0), (1.0, 1.0)] {
            let found = durations.percentile(percent).as_secs_f64() * 1e3;
            assert!((ms..ms * 1.001).contains(&found), "{percent} %: {found}");
        }
    }

    #[test]
    fn a_duration_beyond_the_maximum_counts_as_the_maximum() {
        let mut durations = Durations::new().expect("the bounds are valid");
        durations.add(Duration::MAX);
        assert!(durations.percentile(50.0) >= Duration::from_nanos(MAX_NANOS));
    }

    #[test]
    fn merged_distributions_have_the_counts_of_both() {
        let [mut one, mut other] = [(); 2].map(|()| Durations::new().expect("valid bounds"));
        one.add(Duration::from_nanos(10));
        other.add(Duration::from_nanos(20));
        other.add(Duration::from_nanos(30));
        one.merge(&other).expect("both have the same bounds");
        assert_eq!(one.percentile(50.0), Duration::from_nanos(20));
        assert_eq!(one.percentile(100.0), Duration::from_nanos(30));
    }

    #[test]
    fn an_empty_distribution_has_a_percentile_of_zero() {
        let empty = Durations::new().expect("the bounds are valid");
        assert_eq!(empty.percentile(99.0), Duration::ZERO);
    }
}
