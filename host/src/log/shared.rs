//! The state shared by the threads that log and the writer thread: the queue, and the threads
//! waiting on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::limits::{Limits, PATIENCE};
use super::queue::{Batch, Queue, Source};

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
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Whether the writer thread has taken lines and not finished them.
    is_writing: bool,
    /// Whether a caller has timed out waiting for the output to accept lines.
    is_stuck: bool,
    /// Whether the last write to the output failed permanently.
    is_broken: bool,
    /// The number of callers waiting for all lines to be written.
    flushing: usize,
    /// Whether all handles are dropped, so that no line can be added.
    is_closed: bool,
}

impl Shared {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            state: Mutex::new(State {
                queue: Queue::new(*limits),
                is_writing: false,
                is_stuck: false,
                is_broken: false,
                flushing: 0,
                is_closed: false,
            }),
            filled: Condvar::new(),
            moved: Condvar::new(),
            line_bytes: AtomicUsize::new(limits.line_bytes),
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

    /// Waits for lines and takes them. Returns `None` when the log is closed and empty.
    pub(super) fn take(&self, report: impl Fn(&str) -> String) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            // After the output has failed, reports are retried only when they are due, to avoid a
            // busy loop.
            let is_last = (state.flushing > 0 || state.is_closed) && !state.is_broken;
            let report_at = state.queue.next_report();
            let is_due = report_at.is_some_and(|at| is_last || at <= now);
            if state.is_closed && state.is_broken {
                return None;
            }
            if is_due || !state.queue.is_empty() {
                state.is_writing = true;
                return Some(state.queue.take(now, is_last, report));
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
        state.is_stuck = false;
        state.is_broken = written < batch.text.len();
        self.moved.notify_all();
    }

    /// Waits before retrying an output that failed. Returns `false` if the log is closed.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.is_closed || left.is_zero() {
                return !state.is_closed;
            }
            let waited = self.filled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all lines so far are written, or until `until`.
    pub(super) fn flush(&self, until: Instant) {
        let mut state = self.lock();
        state.flushing += 1;
        self.filled.notify_one();
        while state.is_writing
            || !state.queue.is_empty()
            || (state.queue.has_dropped() && !state.is_broken)
        {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.moved.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.flushing -= 1;
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
