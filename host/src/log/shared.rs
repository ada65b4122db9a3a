//! The state shared by the threads that log and the writer thread: the queue, and the threads
//! waiting on it.

use std::fmt;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::format::LiveFormat;
use super::limits::{Limits, PATIENCE};
use super::queue::{Batch, Queue, Source};

/// Where dropped lines are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reports {
    /// In the log itself.
    InLog,
    /// In the error log, once the output accepts lines again.
    InErrorLog,
}

/// What the writer thread has to do.
pub(super) enum Work {
    /// Write these lines.
    Write(Batch),
    /// Use another output from here on.
    Replace(Replacement),
}

/// An output that replaces the previous one.
pub(super) struct Replacement {
    pub(super) output: Box<dyn Write + Send>,
    /// The output's name in the message about the replacement.
    pub(super) shown: String,
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Replacement").field(&self.shown).finish()
    }
}

/// A queue of lines shared between threads.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Signals the writer thread that there is work.
    filled: Condvar,
    /// Signals that the writer thread has taken or written lines.
    moved: Condvar,
    /// A copy of [`Limits::line_bytes`] that is readable without the lock.
    line_bytes: AtomicUsize,
    /// The format of messages in this log.
    pub(super) format: LiveFormat,
    pub(super) reports: Reports,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Whether the writer thread has taken lines and not finished them.
    is_writing: bool,
    /// The number of those lines.
    writing_lines: u64,
    /// Whether a caller has timed out waiting for the output to accept lines.
    is_stuck: bool,
    /// Whether the last write to the output failed permanently.
    is_broken: bool,
    /// The number of callers waiting for all lines to be written.
    flushing: usize,
    /// Whether all handles are dropped, so that no line can be added.
    is_closed: bool,
    replacement: Option<Replacement>,
}

impl Shared {
    pub(super) fn new(limits: &Limits, reports: Reports) -> Self {
        Self {
            state: Mutex::new(State {
                queue: Queue::new(*limits),
                is_writing: false,
                writing_lines: 0,
                is_stuck: false,
                is_broken: false,
                flushing: 0,
                is_closed: false,
                replacement: None,
            }),
            filled: Condvar::new(),
            moved: Condvar::new(),
            line_bytes: AtomicUsize::new(limits.line_bytes),
            format: LiveFormat::default(),
            reports,
        }
    }

    pub(super) fn set_limits(&self, limits: &Limits) {
        self.lock().queue.set_limits(*limits);
        self.line_bytes.store(limits.line_bytes, Ordering::Relaxed);
    }

    pub(super) fn line_bytes(&self) -> usize {
        self.line_bytes.load(Ordering::Relaxed)
    }

    /// Queues whole lines, or drops them. Never blocks.
    pub(super) fn push(&self, source: &Source, text: Vec<u8>) {
        let mut state = self.lock();
        self.add(&mut state, source, text, Instant::now());
    }

    /// Queues whole lines. Blocks until they fit, as long as the output makes progress.
    pub(super) fn push_when_room(&self, source: &Source, text: Vec<u8>) {
        let mut state = self.lock();
        let mut until = Instant::now() + PATIENCE;
        loop {
            let now = Instant::now();
            if state.is_stuck || state.queue.has_room(source, text.len(), now) {
                return self.add(&mut state, source, text, now);
            }
            let left = until.saturating_duration_since(now);
            let waited = self.moved.wait_timeout(state, left);
            let (guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if result.timed_out() {
                state.is_stuck = true;
            } else {
                until = Instant::now() + PATIENCE;
            }
        }
    }

    fn add(&self, state: &mut State, source: &Source, text: Vec<u8>, now: Instant) {
        // The thread is awake as long as it has lines or reports to write.
        let was_idle = state.queue.is_empty() && !state.is_writing;
        let is_taken = state.queue.push(source, text, now);
        if was_idle || !is_taken {
            self.filled.notify_one();
        }
    }

    /// Waits for work and takes it. Returns `None` when the log is closed and empty.
    pub(super) fn take(&self, report: impl Fn(&str) -> String) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(replacement) = state.replacement.take() {
                return Some(Work::Replace(replacement));
            }
            let now = Instant::now();
            let is_ending = state.flushing > 0 || state.is_closed;
            // After the output has failed, reports in the log are retried only when they are due,
            // to avoid a busy loop. Reports in the error log wait until it has recovered.
            let (is_last, report_at) = match self.reports {
                Reports::InLog => (is_ending && !state.is_broken, state.queue.next_report()),
                Reports::InErrorLog if state.is_broken && !is_ending => (false, None),
                Reports::InErrorLog => (is_ending, state.queue.next_report()),
            };
            let is_due = report_at.is_some_and(|at| is_last || at <= now);
            if is_due || !state.queue.is_empty() {
                if state.is_closed && state.is_broken && self.reports == Reports::InLog {
                    return None;
                }
                state.is_writing = true;
                let batch = match self.reports {
                    Reports::InLog => state.queue.take(now, is_last, report),
                    Reports::InErrorLog => {
                        let is_told = !state.is_broken || is_ending;
                        state.queue.take_apart(now, is_last, is_told)
                    }
                };
                state.writing_lines = batch.lines();
                return Some(Work::Write(batch));
            }
            if state.is_closed {
                return None;
            }
            state = match report_at {
                Some(at) => {
                    let left = at.saturating_duration_since(now);
                    let waited = self.filled.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Completes a batch: it was written, or abandoned after its first `written` bytes.
    pub(super) fn finish(&self, batch: &Batch, written: usize) {
        let mut state = self.lock();
        state.queue.finish(batch, written, Instant::now());
        state.is_writing = false;
        state.writing_lines = 0;
        state.is_stuck = false;
        state.is_broken = written < batch.text.len();
        self.moved.notify_all();
    }

    /// Replaces the output.
    pub(super) fn replace(&self, output: Box<dyn Write + Send>, shown: String) {
        let replacement = Replacement { output, shown };
        let before = self.lock().replacement.replace(replacement);
        self.filled.notify_one();
        drop(before);
    }

    /// Returns the output that replaces the current one, if there is one.
    pub(super) fn take_replacement(&self) -> Option<Replacement> {
        self.lock().replacement.take()
    }

    /// Waits before retrying an output that failed, or until it is replaced. Returns `false` if the
    /// log is closed.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.is_closed || state.replacement.is_some() || left.is_zero() {
                return !state.is_closed;
            }
            let waited = self.filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all lines so far are written, or until `until`. Returns the number of lines in
    /// the queue that are not.
    pub(super) fn flush(&self, until: Instant) -> u64 {
        let mut state = self.lock();
        state.flushing += 1;
        self.filled.notify_one();
        while state.is_writing
            || !state.queue.is_empty()
            || (state.queue.has_dropped()
                && (!state.is_broken || self.reports == Reports::InErrorLog))
        {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.flushing -= 1;
        state.queue.lines() + state.writing_lines
    }

    /// Closes the log: no more lines will be added.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// Locks the state. A panic while the lock is held leaves the queue consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
