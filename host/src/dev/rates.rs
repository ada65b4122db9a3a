//! How many requests were answered in each of the last seconds, and how long they took. Bounded:
//! times are counted in classes, each at most an eighth wider than the one before.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The number of seconds that are kept.
const SECONDS: usize = 60;

/// The number of seconds of which the rate is the mean. A shorter time shows single requests.
const RATE_SECONDS: usize = 10;

/// The number of classes for each doubling of a time, as a power of two.
const CLASS_BITS: u32 = 3;

/// The number of classes: up to 2^28 µs, which is 4 minutes. Longer times count as this.
const CLASSES: usize = 28 << CLASS_BITS;

/// The requests of the last seconds.
#[derive(Debug)]
pub(super) struct Rates {
    began: Instant,
    total: u64,
    /// One for each second; that of second `n` since the start is at `n % SECONDS`.
    seconds: Vec<Second>,
}

#[derive(Clone, Debug)]
struct Second {
    /// The number of the second since the start.
    number: u64,
    requests: u32,
    failed: u32,
    times: Box<[u32]>,
}

/// What the dashboard shows of the last seconds.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    /// The number of requests since the start.
    total: u64,
    /// The mean number of requests per second in the last complete seconds.
    rate: f64,
    /// The requests of each second, oldest first. The last second is not complete.
    requests: Vec<u32>,
    /// Those of them whose status is 500 or higher.
    failed: Vec<u32>,
    /// The median time of the requests of all these seconds, in milliseconds.
    median_ms: Option<f64>,
    /// The time that 95 % of these requests took at most, in milliseconds.
    p95_ms: Option<f64>,
}

impl Rates {
    pub(super) fn new(now: Instant) -> Self {
        let empty = Second {
            number: 0,
            requests: 0,
            failed: 0,
            times: vec![0; CLASSES].into(),
        };
        Self {
            began: now,
            total: 0,
            seconds: vec![empty; SECONDS],
        }
    }

    /// Counts a request that ends now.
    pub(super) fn count(&mut self, now: Instant, took: Duration, is_failed: bool) {
        let number = self.number(now);
        let Some(second) = self.seconds.get_mut(number as usize % SECONDS) else {
            return;
        };
        if second.number != number {
            (second.number, second.requests, second.failed) = (number, 0, 0);
            second.times.fill(0);
        }
        self.total += 1;
        second.requests = second.requests.saturating_add(1);
        second.failed = second.failed.saturating_add(u32::from(is_failed));
        if let Some(count) = second.times.get_mut(class(took)) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns what the dashboard shows.
    pub(super) fn shown(&self, now: Instant) -> Shown {
        let last = self.number(now);
        let seconds: Vec<Option<&Second>> = (0..SECONDS as u64)
            .rev()
            .map(|age| {
                let number = last.checked_sub(age)?;
                let second = self.seconds.get(number as usize % SECONDS)?;
                (second.number == number).then_some(second)
            })
            .collect();
        let requests: Vec<u32> = seconds
            .iter()
            .map(|second| second.map_or(0, |second| second.requests))
            .collect();
        let failed = seconds
            .iter()
            .map(|second| second.map_or(0, |second| second.failed))
            .collect();
        // The seconds since the start, without the one that is not complete.
        let complete = RATE_SECONDS.min(usize::try_from(last).unwrap_or(RATE_SECONDS));
        let recent = requests.iter().rev().skip(1).take(complete);
        let sum: f64 = recent.map(|&count| f64::from(count)).sum();
        Shown {
            total: self.total,
            rate: sum / complete.max(1) as f64,
            median_ms: percentile(&seconds, 50),
            p95_ms: percentile(&seconds, 95),
            requests,
            failed,
        }
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }
}

fn class(took: Duration) -> usize {
    let micros = took.as_micros().clamp(1, 1 << 40) as u64;
    let octave = micros.ilog2();
    let within = (micros << CLASS_BITS >> octave) as usize & ((1 << CLASS_BITS) - 1);
    ((octave as usize) << CLASS_BITS | within).min(CLASSES - 1)
}

/// Returns the middle of a class, in milliseconds.
fn middle_ms(class: usize) -> f64 {
    let parts = f64::from(1 << CLASS_BITS);
    let within = (class % (1 << CLASS_BITS)) as f64;
    let octave = (class >> CLASS_BITS) as i32;
    (1.0 + (within + 0.5) / parts) * f64::powi(2.0, octave) / 1000.0
}

fn percentile(seconds: &[Option<&Second>], percent: u64) -> Option<f64> {
    let count = |class: usize| -> u64 {
        let seconds = seconds.iter().flatten();
        seconds.map(|one| u64::from(one.times[class])).sum()
    };
    let all: u64 = (0..CLASSES).map(count).sum();
    let rank = (all * percent).div_ceil(100);
    let mut sum = 0;
    let found = (0..CLASSES).find(|&class| {
        sum += count(class);
        sum >= rank
    });
    found.filter(|_| all > 0).map(middle_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn requests_are_counted_by_second_and_forgotten_after_a_minute() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for _ in 0..20 {
            rates.count(at(10), MS, false);
        }
        rates.count(at(12), MS, true);
        let shown = rates.shown(at(13));
        assert_eq!(shown.requests[56..], [20, 0, 1, 0]);
        assert_eq!(shown.failed[56..], [0, 0, 1, 0]);
        assert_eq!((shown.total, shown.rate), (21, 2.1));
        let later = rates.shown(at(80));
        assert_eq!(later.requests, [0; SECONDS]);
        assert_eq!((later.total, later.median_ms), (21, None));
        rates.count(at(70), MS, false);
        assert_eq!(rates.shown(at(70)).requests[57..], [0, 0, 1]);
    }

    #[test]
    fn percentiles_are_exact_to_a_tenth() {
        let start = Instant::now();
        let mut rates = Rates::new(start);
        for number in 1..=100 {
            rates.count(start, number * MS, false);
        }
        let shown = rates.shown(start);
        let is_near =
            |is: Option<f64>, should: f64| (is.expect("a time") / should - 1.0).abs() < 0.1;
        assert!(is_near(shown.median_ms, 50.0), "{:?}", shown.median_ms);
        assert!(is_near(shown.p95_ms, 95.0), "{:?}", shown.p95_ms);
    }

    #[test]
    fn every_time_has_a_class() {
        for took in [Duration::ZERO, Duration::MAX, Duration::from_nanos(1), MS] {
            assert!(class(took) < CLASSES);
        }
        assert!((middle_ms(class(MS)) - 1.0).abs() < 0.1);
    }
}
