//! The last lines that handlers wrote, for reports of failures and for the dashboard.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::printable;

/// The maximum number of lines that are kept, of all handlers.
const MAX_LINES: usize = 1_000;

/// The maximum length of a line, in bytes. Longer ones are cut.
const MAX_LINE_BYTES: usize = 4 * 1024;

/// The maximum number of lines in a report.
const MAX_REPORTED: usize = 30;

/// The lines, oldest first: at most 4 MiB.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<VecDeque<Line>>);

#[derive(Debug)]
struct Line {
    /// The number of the handler's request.
    request: Option<NonZeroU64>,
    level: &'static str,
    text: Arc<str>,
}

/// A line, for the event stream.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    pub(super) handler: &'a str,
    pub(super) level: &'a str,
    pub(super) line: &'a str,
}

/// A line of a request, for the dashboard.
#[derive(Debug, Serialize)]
pub(super) struct Logged {
    /// `info` or `warn`.
    pub(super) level: &'static str,
    pub(super) line: String,
}

impl Lines {
    /// Adds a line of a request, and returns it as text without control characters.
    pub(super) fn add(
        &self,
        request: Option<NonZeroU64>,
        level: &'static str,
        line: &[u8],
    ) -> Arc<str> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let front = line.get(..MAX_LINE_BYTES).unwrap_or(line);
        let text: Arc<str> = printable::line_of_bytes(front).to_string().into();
        let mut lines = self.lock();
        lines.push_back(Line {
            request,
            level,
            text: text.clone(),
        });
        while lines.len() > MAX_LINES {
            lines.pop_front();
        }
        text
    }

    /// Returns the last lines of a request, oldest first.
    pub(super) fn last(&self, request: NonZeroU64) -> Vec<String> {
        let lines = self.lock();
        let own = lines
            .iter()
            .rev()
            .filter(|line| line.request == Some(request));
        let mut texts: Vec<_> = own
            .take(MAX_REPORTED)
            .map(|line| line.text.to_string())
            .collect();
        texts.reverse();
        texts
    }

    /// Returns all lines of a request that are still kept, oldest first.
    pub(super) fn for_request(&self, request: NonZeroU64) -> Vec<Logged> {
        let lines = self.lock();
        let own = lines.iter().filter(|line| line.request == Some(request));
        own.map(|line| Logged {
            level: line.level,
            line: line.text.to_string(),
        })
        .collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_request_are_kept_within_limits() {
        let lines = Lines::default();
        let [before, one, other] = [1, 2, 3].map(NonZeroU64::new);
        lines.add(before, "info", b"before");
        for number in 0..40 {
            lines.add(one, "warn", format!("{number}\r").as_bytes());
            lines.add(other, "info", b"x");
        }
        let number = one.expect("not zero");
        let last = lines.last(number);
        assert_eq!(last.len(), MAX_REPORTED);
        assert_eq!((last[0].as_str(), last[29].as_str()), ("10", "39"));
        let all = lines.for_request(number);
        assert_eq!(
            (all.len(), all[0].line.as_str(), all[0].level),
            (40, "0", "warn")
        );
        for _ in 0..2 * MAX_LINES {
            lines.add(other, "info", &[b'x'; 3 * MAX_LINE_BYTES]);
        }
        assert!(lines.last(number).is_empty());
        let kept = lines.lock();
        assert!(kept.len() == MAX_LINES && kept.iter().all(|line| line.text.len() <= 5_000));
    }

    #[test]
    fn a_line_has_no_control_characters() {
        let text = Lines::default().add(None, "info", b"\x1b[31m\0\xff</script>");
        assert!(!text.contains(['\u{1b}', '\0']), "{text}");
    }
}
