//! A histogram of response times, with buckets that grow with the time: the relative error is at
//! most two percent.

use std::time::Duration;

/// The number of buckets per doubling of the time, as a power of two: 64, so 1.6 % each.
const STEP_BITS: u32 = 6;

const STEPS: usize = 1 << STEP_BITS;

/// The maximum time: `2^42` ns, 73 minutes. Longer times count as this.
const TIME_BITS: u32 = 42;

const BUCKETS: usize = (TIME_BITS - STEP_BITS + 1) as usize * STEPS;

/// Times and their counts.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }

    /// Adds one time.
    pub(crate) fn add(&mut self, time: Duration) {
        self.counts[bucket(time)] += 1;
        self.total += 1;
    }

    /// Adds the counts of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// Returns the time that this percentage did not exceed, or zero without any counts.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let wanted = (self.total as f64 * percent / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(bucket);
            }
        }
        Duration::ZERO
    }
}

fn bucket(time: Duration) -> usize {
    let longest = (1 << TIME_BITS) - 1;
    let nanos = u64::try_from(time.as_nanos())
        .unwrap_or(longest)
        .min(longest);
    let bits = u64::BITS - nanos.leading_zeros();
    let Some(shift) = bits.checked_sub(STEP_BITS + 1) else {
        return nanos as usize;
    };
    // The leading bit and the following six bits select the bucket within its doubling.
    let leading = (nanos >> shift) as usize;
    shift as usize * STEPS + leading
}

/// Returns the longest time that a bucket counts.
fn upper_bound(bucket: usize) -> Duration {
    if bucket < 2 * STEPS {
        return Duration::from_nanos(bucket as u64);
    }
    let shift = bucket / STEPS - 1;
    let leading = (bucket % STEPS + STEPS) as u64;
    Duration::from_nanos(((leading + 1) << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_its_bucket_and_close_to_its_bound() {
        let mut nanos = 0_u64;
        let mut last = 0;
        while nanos < 1 << TIME_BITS {
            let bucket = bucket(Duration::from_nanos(nanos));
            let bound = upper_bound(bucket).as_nanos() as u64;
            assert!(bound >= nanos, "{nanos} is above {bound}");
            assert!(
                bound - nanos <= nanos / STEPS as u64,
                "{nanos} is far from {bound}"
            );
            assert!(bucket >= last, "{nanos} is out of order");
            last = bucket;
            nanos += 1 + nanos / 100;
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn bounds_are_where_the_next_bucket_begins() {
        for place in 0..BUCKETS - 1 {
            let bound = upper_bound(place);
            assert_eq!(bucket(bound), place);
            assert_eq!(bucket(bound + Duration::from_nanos(1)), place + 1);
        }
    }

    #[test]
    fn percentiles_of_a_hundred_times() {
        let mut histogram = Histogram::new();
        for ms in 1..=100 {
            histogram.add(Duration::from_millis(ms));
        }
        for (percent, ms) in [(50.0, 50.0), (99.0, 99.0), (100.0, 100.0), (0.0, 1.0)] {
            let found = histogram.percentile(percent).as_secs_f64() * 1e3;
            assert!((ms..ms * 1.016).contains(&found), "{percent} %: {found}");
        }
    }

    #[test]
    fn what_takes_forever_counts_as_long() {
        let mut histogram = Histogram::new();
        histogram.add(Duration::MAX);
        assert!(histogram.percentile(50.0) > Duration::from_secs(4000));
    }

    #[test]
    fn two_are_one() {
        let (mut one, mut other) = (Histogram::new(), Histogram::new());
        one.add(Duration::from_nanos(10));
        other.add(Duration::from_nanos(20));
        other.add(Duration::from_nanos(30));
        one.merge(&other);
        assert_eq!(one.percentile(50.0), Duration::from_nanos(20));
        assert_eq!(one.percentile(100.0), Duration::from_nanos(30));
    }

    #[test]
    fn nothing_took_no_time() {
        assert_eq!(Histogram::new().percentile(99.0), Duration::ZERO);
    }
}
