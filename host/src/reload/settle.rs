//! Decides when a changed file has settled.
//!
//! A file is written in steps, and only the writer knows which one is the last. So a change takes
//! effect when there was no further event for a while. The delay depends on the event: a rename
//! delivers a finished file, a close ends most writes, and other events say little. A file that
//! never settles takes effect after a maximum time.
//!
//! This module uses no clock and no file: events and `now` are parameters, and it returns when to
//! look again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::file_stamp::FileStamp;

/// The maximum number of pending files. More are not edited by hand: a listing of the folder, which
/// is due anyway, finds the rest.
const MAX_WAITING: usize = 4_096;

/// An event on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Moved here: complete, unless its writer is careless.
    Moved,
    /// Closed after writing.
    Written,
    /// Created or changed; more changes may follow.
    Touched,
    /// Removed or moved away, perhaps to be replaced immediately.
    Gone,
}

/// The pending files, by their path in the folder (`""` is the folder itself).
#[derive(Debug, Default)]
pub(super) struct Settle {
    waiting: HashMap<String, Waiting>,
}

/// The state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// There was no event.
    Unknown,
    /// It may still be changing.
    Waiting,
    /// It is time to act.
    Due {
        /// The stamp when the change was first suspected, for a change without an event.
        stamp: Option<FileStamp>,
        /// The maximum time is over: act even if it is still changing.
        overdue: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Instant,
    due: Instant,
    overdue_at: Instant,
    stamp: Option<FileStamp>,
}

impl Hint {
    /// Returns whether the path itself was moved: the files below it may now be elsewhere.
    pub(crate) fn moves(self) -> bool {
        matches!(self, Hint::Moved | Hint::Gone)
    }

    /// Returns the required time without events. From a rename to the first response of the new
    /// version should take less than 150 ms, including compilation. An editor's truncate-and-write,
    /// and its remove-and-create, take a few milliseconds.
    fn quiet(self) -> Duration {
        Duration::from_millis(match self {
            Hint::Moved => 5,
            Hint::Written => 20,
            Hint::Touched | Hint::Gone => 60,
        })
    }

    /// Returns the maximum time to wait for a file to settle. A file that is still being written
    /// after two seconds may be a log or a slow copy: trying it costs only a failed load.
    fn patience(self) -> Duration {
        Duration::from_millis(match self {
            Hint::Moved | Hint::Written => 300,
            Hint::Touched | Hint::Gone => 2_000,
        })
    }
}

impl Settle {
    /// Records an event on `file`. The last event determines how long to wait.
    pub(super) fn note(&mut self, file: &str, hint: Hint, now: Instant) {
        if self.waiting.len() >= MAX_WAITING && !self.waiting.contains_key(file) {
            return self.note_known("", hint, now);
        }
        self.note_known(file, hint, now);
    }

    fn note_known(&mut self, file: &str, hint: Hint, now: Instant) {
        let since = self.waiting.get(file).map_or(now, |waiting| waiting.since);
        let overdue_at = since + hint.patience();
        let waiting = Waiting {
            since,
            due: (now + hint.quiet()).min(overdue_at.max(now)),
            overdue_at,
            stamp: None,
        };
        self.waiting.insert(file.to_owned(), waiting);
    }

    /// Records a change of `file` without an event: it must look the same again after a while.
    pub(super) fn suspect(&mut self, file: &str, stamp: FileStamp, now: Instant) {
        self.note(file, Hint::Touched, now);
        if let Some(waiting) = self.waiting.get_mut(file) {
            waiting.stamp = Some(stamp);
        }
    }

    /// Returns the state of `file`.
    pub(super) fn state(&self, file: &str, now: Instant) -> FileState {
        match self.waiting.get(file) {
            None => FileState::Unknown,
            Some(waiting) if waiting.due > now => FileState::Waiting,
            Some(waiting) => FileState::Due {
                stamp: waiting.stamp,
                overdue: waiting.overdue_at <= now,
            },
        }
    }

    /// Delays `file` until at least `until`.
    pub(super) fn postpone(&mut self, file: &str, until: Instant) {
        if let Some(waiting) = self.waiting.get_mut(file) {
            waiting.due = waiting.due.max(until);
        }
    }

    /// Removes `file`, which has been handled.
    pub(super) fn clear(&mut self, file: &str) {
        self.waiting.remove(file);
    }

    /// Removes all files that are due: they were handled or are not handlers.
    pub(super) fn clear_due(&mut self, now: Instant) {
        self.waiting.retain(|_, waiting| waiting.due > now);
    }

    /// Returns when the next file is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Returns when a file becomes due, in milliseconds, after hints at the given milliseconds.
    fn due_after(hints: &[(u32, Hint)]) -> u128 {
        let start = Instant::now();
        let mut settle = Settle::default();
        for &(at, hint) in hints {
            settle.note("hello.wasm", hint, start + MS * at);
        }
        let due = settle.next_due().expect("waiting");
        (due - start).as_millis()
    }

    #[test]
    fn the_last_hint_decides() {
        assert_eq!(due_after(&[(0, Hint::Moved)]), 5);
        assert_eq!(due_after(&[(0, Hint::Written)]), 20);
        assert_eq!(due_after(&[(0, Hint::Touched)]), 60);
        assert_eq!(due_after(&[(0, Hint::Gone)]), 60);
        // An editor that removes, creates, writes and closes.
        let save = [
            (0, Hint::Gone),
            (1, Hint::Touched),
            (2, Hint::Touched),
            (3, Hint::Written),
        ];
        assert_eq!(due_after(&save), 23);
        // Opened and written once more.
        assert_eq!(due_after(&[(0, Hint::Written), (10, Hint::Touched)]), 70);
    }

    #[test]
    fn a_file_that_never_rests_is_due_after_some_time() {
        let storm: Vec<(u32, Hint)> = (0..400).map(|at| (at, Hint::Moved)).collect();
        assert!(due_after(&storm[..290]) < 300);
        assert_eq!(due_after(&storm[..298]), 300);
        let slow_copy: Vec<(u32, Hint)> = (0..40).map(|n| (n * 50, Hint::Touched)).collect();
        assert_eq!(due_after(&slow_copy), 2_000);
    }

    #[test]
    fn an_overdue_file_says_so() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.note("a", Hint::Moved, start);
        assert_eq!(settle.state("a", start), FileState::Waiting);
        let due = |overdue| FileState::Due {
            stamp: None,
            overdue,
        };
        assert_eq!(settle.state("a", start + MS * 5), due(false));
        assert_eq!(settle.state("a", start + MS * 300), due(true));
        assert_eq!(settle.state("b", start), FileState::Unknown);
        // Long overdue, and changed again: due immediately, never before the hint.
        settle.note("a", Hint::Moved, start + MS * 500);
        assert_eq!(settle.state("a", start + MS * 500), due(true));
    }

    #[test]
    fn what_is_due_can_be_put_off_and_forgotten() {
        let start = Instant::now();
        let mut settle = Settle::default();
        settle.note("a", Hint::Moved, start);
        settle.note("b", Hint::Gone, start);
        settle.postpone("a", start + MS * 30);
        settle.postpone("c", start);
        assert_eq!(settle.state("a", start + MS * 5), FileState::Waiting);
        settle.clear_due(start + MS * 40);
        assert_eq!(settle.state("a", start + MS * 40), FileState::Unknown);
        assert_eq!(settle.next_due(), Some(start + MS * 60));
        settle.clear("b");
        assert_eq!(settle.next_due(), None);
    }

    #[test]
    fn what_is_too_much_becomes_one_look_at_the_folder() {
        let start = Instant::now();
        let mut settle = Settle::default();
        for number in 0..MAX_WAITING + 10 {
            settle.note(&number.to_string(), Hint::Written, start);
        }
        assert_eq!(settle.waiting.len(), MAX_WAITING + 1);
        assert_eq!(settle.state("", start), FileState::Waiting);
    }
}
