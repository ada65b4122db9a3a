//! The last lines that handlers wrote, for reports of failures.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

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
    handler: Arc<str>,
    text: Arc<str>,
    at: Instant,
}

/// A line, for the event stream.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    pub(super) handler: &'a str,
    pub(super) level: &'a str,
    pub(super) line: &'a str,
}

impl Lines {
    /// Adds a line, and returns it as text without control characters.
    pub(super) fn add(&self, handler: &Arc<str>, line: &[u8], at: Instant) -> Arc<str> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let front = line.get(..MAX_LINE_BYTES).unwrap_or(line);
        let text: Arc<str> = printable::line_of_bytes(front).to_string().into();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(Line {
            handler: handler.clone(),
            text: text.clone(),
            at,
        });
        while lines.len() > MAX_LINES {
            lines.pop_front();
        }
        text
    }

    /// Returns the last lines of a handler since `since`, oldest first.
    pub(super) fn last(&self, handler: &str, since: Instant) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = lines.iter().rev().take_while(|line| line.at >= since);
        let own = own.filter(|line| &*line.handler == handler);
        let mut texts: Vec<_> = own
            .take(MAX_REPORTED)
            .map(|line| line.text.to_string())
            .collect();
        texts.reverse();
        texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_handler_are_kept_within_limits() {
        let lines = Lines::default();
        let (one, other): (Arc<str>, Arc<str>) = ("one".into(), "other".into());
        lines.add(&one, b"before", Instant::now());
        let since = Instant::now();
        for number in 0..40 {
            lines.add(&one, format!("{number}\r").as_bytes(), Instant::now());
            lines.add(&other, b"x", Instant::now());
        }
        let last = lines.last("one", since);
        assert_eq!(last.len(), MAX_REPORTED);
        assert_eq!((last[0].as_str(), last[29].as_str()), ("10", "39"));
        for _ in 0..2 * MAX_LINES {
            lines.add(&other, &[b'x'; 3 * MAX_LINE_BYTES], since);
        }
        assert!(lines.last("one", since).is_empty());
        let kept = lines.0.lock().expect("no panic");
        assert!(kept.len() == MAX_LINES && kept.iter().all(|line| line.text.len() <= 5_000));
    }

    #[test]
    fn a_line_has_no_control_characters() {
        let text = Lines::default().add(&"a".into(), b"\x1b[31m\0\xff</script>", Instant::now());
        assert!(!text.contains(['\u{1b}', '\0']), "{text}");
    }
}
