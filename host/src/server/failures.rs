//! The last failures of handlers, for `/status` of the admin listener.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, TryLockError};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::printable;

/// The number of failures that are kept.
const MAX_FAILURES: usize = 20;

/// The maximum length of a failure's text, in bytes.
const MAX_TEXT_BYTES: usize = 300;

/// The last failures of handlers in this process.
#[derive(Debug, Default)]
pub(super) struct LastFailures(Mutex<VecDeque<LastFailure>>);

#[derive(Debug)]
struct LastFailure {
    time: SystemTime,
    handler: String,
    cause: &'static str,
    /// The name of the request in the error log.
    request: String,
    text: String,
}

impl LastFailures {
    /// Keeps a failure. Never blocks: a failure is lost if another thread uses the list now.
    pub(super) fn note(&self, handler: &str, cause: &'static str, request: &str, text: &str) {
        let mut failures = match self.0.try_lock() {
            Ok(failures) => failures,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if failures.len() >= MAX_FAILURES {
            failures.pop_front();
        }
        let first = text.lines().next().unwrap_or_default();
        failures.push_back(LastFailure {
            time: SystemTime::now(),
            handler: handler.to_owned(),
            cause,
            request: request.to_owned(),
            text: printable::front(first, MAX_TEXT_BYTES).to_owned(),
        });
    }

    /// Returns the failures as JSON objects, oldest first.
    pub(super) fn list(&self) -> Vec<Value> {
        // Formatted without the lock, so that reactors hardly ever find it taken.
        let failures = {
            let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let copy = |one: &LastFailure| {
                let (handler, request) = (one.handler.clone(), one.request.clone());
                (one.time, handler, one.cause, request, one.text.clone())
            };
            failures.iter().map(copy).collect::<Vec<_>>()
        };
        let object = |(time, handler, cause, request, text): (SystemTime, _, _, _, _)| {
            let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
            let seconds = since_1970.map_or(0.0, |time| time.as_secs_f64());
            json!({
                "unix-seconds": (seconds * 1000.0).round() / 1000.0,
                "handler": handler as String,
                "cause": cause as &str,
                "request": request as String,
                "text": text as String,
            })
        };
        failures.into_iter().map(object).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failures_are_kept_each_with_its_first_line() {
        let failures = LastFailures::default();
        for number in 0..MAX_FAILURES + 2 {
            let text = format!("{number}: {}\nmore", "é".repeat(MAX_TEXT_BYTES));
            failures.note("hello", "trap", "abc", &text);
        }
        let list = failures.list();
        assert_eq!(list.len(), MAX_FAILURES);
        let text = list[0]["text"].as_str().expect("a text");
        assert!(text.starts_with("2: é") && text.len() <= MAX_TEXT_BYTES);
        assert!(!text.contains("more"));
        assert_eq!(list[0]["cause"], "trap");
        assert!(list[0]["unix-seconds"].as_f64() > Some(1e9));
    }

    #[test]
    fn a_thread_that_reads_the_list_delays_no_reactor() {
        let failures = LastFailures::default();
        let reader = failures.0.lock().expect("no panic");
        failures.note("hello", "trap", "abc", "lost");
        drop(reader);
        assert_eq!(failures.list().len(), 0);
    }
}
