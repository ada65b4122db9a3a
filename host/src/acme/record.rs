//! The record of attempts to obtain one certificate, and when the next one is due. It is kept in a
//! file, so that a server that is restarted again and again doesn't ask again and again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::printable;

/// The maximum number of attempts in an hour: Let's Encrypt refuses further orders after five
/// failed validations of a name in an hour.
const ATTEMPTS_PER_HOUR: usize = 4;

/// The maximum number of attempts in a day.
const ATTEMPTS_PER_DAY: usize = 12;

const HOUR_SECONDS: u64 = 60 * 60;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;

/// The pause after the first failure. It is four times as long after each further one.
const FIRST_PAUSE_SECONDS: u64 = 60;

/// The maximum pause between attempts: a name that was moved to this server yesterday gets its
/// certificate today.
const MAX_PAUSE_SECONDS: u64 = 12 * HOUR_SECONDS;

/// The maximum pause that a directory can ask for: the longest period of Let's Encrypt's limits.
pub(super) const MAX_WANTED_PAUSE: Duration = Duration::from_secs(7 * DAY_SECONDS);

/// The maximum length of a reason that is kept, in bytes.
const MAX_REASON_BYTES: usize = 500;

/// The reason that is kept while there is no other one.
const INTERRUPTED: &str = "the attempt was interrupted, or its result could not be stored";

/// What is known of the attempts to obtain one certificate. Times are in seconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Record {
    /// The directory of the last attempts.
    pub(super) directory: String,
    /// The names of the last attempts.
    pub(super) names: Vec<String>,
    /// The starts of the attempts of the last day, oldest first.
    pub(super) attempts: Vec<u64>,
    /// The number of failures since the last success.
    pub(super) failures: u32,
    /// The earliest time of the next attempt.
    pub(super) not_before: u64,
    /// Why the last attempt has failed; empty after a success.
    pub(super) reason: String,
    /// The directory that has issued the certificate.
    pub(super) issued_by: String,
}

impl Record {
    /// Returns when the next attempt is allowed: now, or later.
    pub(super) fn next(&self, now: u64) -> u64 {
        // A clock that was ahead must not prevent attempts for years.
        let known = |period: u64, count: usize| {
            let mut until_now = self.attempts.iter().rev().filter(|start| **start <= now);
            Some(until_now.nth(count - 1)?.saturating_add(period))
        };
        let limits = [
            known(HOUR_SECONDS, ATTEMPTS_PER_HOUR),
            known(DAY_SECONDS, ATTEMPTS_PER_DAY),
            Some(self.not_before.min(now + MAX_WANTED_PAUSE.as_secs())),
        ];
        limits.into_iter().flatten().fold(now, u64::max)
    }

    /// Records that an attempt begins. Its failure counts until it succeeds: the process may end
    /// before.
    pub(super) fn begin(&mut self, directory: &str, names: &[String], now: u64, jitter: f64) {
        if self.directory != directory || self.names != names {
            // What has failed before was something else.
            self.failures = 0;
            directory.clone_into(&mut self.directory);
            self.names = names.to_vec();
        }
        // Those of a clock that was ahead are as old as the others then.
        self.attempts
            .retain(|start| *start <= now && *start + DAY_SECONDS > now);
        self.attempts.push(now);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause(self.failures, jitter);
        INTERRUPTED.clone_into(&mut self.reason);
    }

    /// Records why the attempt has failed, and how long the directory wants no other one.
    pub(super) fn failed(&mut self, reason: &str, wanted: Option<Duration>, now: u64) {
        printable::front(reason, MAX_REASON_BYTES).clone_into(&mut self.reason);
        if let Some(wanted) = wanted {
            let until = now + wanted.min(MAX_WANTED_PAUSE).as_secs();
            self.not_before = self.not_before.max(until);
        }
    }

    /// Records that the attempt has succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = 0;
        self.reason.clear();
        self.issued_by.clone_from(&self.directory);
    }

    /// Records that the server has stopped during the attempt, which is not the directory's fault.
    pub(super) fn stopped(&mut self) {
        self.failures = self.failures.saturating_sub(1);
        self.not_before = 0;
    }

    /// Returns why the last attempt has failed, if it has.
    pub(crate) fn reason(&self) -> Option<&str> {
        (!self.reason.is_empty()).then_some(&*self.reason)
    }
}

/// Returns the pause after a number of failures, in seconds: up to a quarter longer by `jitter`,
/// from 0 to 1, so that servers that have failed together don't ask together.
fn pause(failures: u32, jitter: f64) -> u64 {
    let factor = 4_u64.saturating_pow(failures.saturating_sub(1));
    let pause = FIRST_PAUSE_SECONDS.saturating_mul(factor);
    let pause = pause.min(MAX_PAUSE_SECONDS);
    pause + (pause as f64 * jitter.clamp(0.0, 1.0) / 4.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;

    /// Fails at each time that is allowed, for a period. Returns the times since the start.
    fn failures(period: u64, wanted: Option<Duration>) -> Vec<u64> {
        let (mut record, mut now, mut times) = (Record::default(), START, Vec::new());
        while now < START + period {
            record.begin("d", &["a".into()], now, 0.0);
            record.failed("no", wanted, now);
            times.push(now - START);
            now = record.next(now);
        }
        times
    }

    #[test]
    fn attempts_that_fail_become_rare() {
        let times = failures(2 * DAY_SECONDS, None);
        assert_eq!(times[..5], [0, 60, 300, 1260, 5100], "{times:?}");
        assert!(times.len() <= 10, "{times:?}");
        for start in 0..times.len() {
            let hour = times[start..]
                .iter()
                .filter(|time| **time < times[start] + HOUR_SECONDS);
            assert!(hour.count() <= ATTEMPTS_PER_HOUR);
        }
    }

    #[test]
    fn the_directory_can_ask_for_a_longer_pause_but_not_for_ever() {
        let hour = Duration::from_secs(HOUR_SECONDS);
        assert_eq!(failures(2 * HOUR_SECONDS, Some(hour)), [0, 3600]);
        let times = failures(15 * DAY_SECONDS, Some(Duration::MAX));
        assert_eq!(times, [0, 7 * DAY_SECONDS, 14 * DAY_SECONDS]);
    }

    #[test]
    fn certificates_that_are_wanted_again_at_once_are_limited_too() {
        let (mut record, mut now, mut count) = (Record::default(), START, 0);
        while now < START + DAY_SECONDS {
            record.begin("d", &["a".into()], now, 0.0);
            record.succeeded();
            assert!(record.attempts.len() <= ATTEMPTS_PER_DAY);
            count += 1;
            now = record.next(now);
        }
        assert_eq!(count, ATTEMPTS_PER_DAY);
    }

    #[test]
    fn an_attempt_that_was_interrupted_counts_as_failed() {
        let mut record = Record::default();
        record.begin("d", &["a".into()], START, 0.5);
        let text = serde_json::to_string(&record).expect("written");
        let record: Record = serde_json::from_str(&text).expect("read");
        assert_eq!(record.next(START), START + 67);
        assert!(record.reason().is_some());
    }

    #[test]
    fn a_clock_that_was_ahead_does_not_prevent_attempts_for_long() {
        let mut record = Record::default();
        let ahead = START + 400 * DAY_SECONDS;
        record.begin("d", &["a".into()], ahead, 0.0);
        record.failed("no", None, ahead);
        // The limit of an hour and a day have room, and the pause ends after a week.
        assert!(record.next(START) <= START + 7 * DAY_SECONDS);
        // Also after as many attempts as a day has, and whatever numbers the file has.
        for ahead in [ahead, u64::MAX] {
            record.attempts = vec![ahead; ATTEMPTS_PER_DAY];
            record.not_before = ahead;
            assert!(record.next(START) <= START + 7 * DAY_SECONDS);
        }
    }

    #[test]
    fn other_names_begin_anew_within_the_limits() {
        let mut record = Record::default();
        for name in ["a", "b", "c", "d"] {
            record.begin("d", &[name.into()], START, 0.0);
            assert_eq!(record.failures, 1);
        }
        assert_eq!(record.next(START), START + HOUR_SECONDS);
    }
}
