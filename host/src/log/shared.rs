//! What those who log share with the thread that writes: the queue, and who waits at it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::queue::{Batch, Queue, Source};
use super::{Limits, PATIENCE};

/// A queue of lines that threads share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Something has come for the thread that writes.
    filled: Condvar,
    /// The thread that writes has taken or written something.
    moved: Condvar,
    /// [`Limits::line_bytes`], to be had without the lock.
    line_bytes: AtomicUsize,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    /// Whether the thread that writes has taken lines and not finished them.
    is_writing: bool,
    /// Whether the output took nothing for as long as somebody had the patience to wait.
    is_stuck: bool,
    /// Whether the output failed for good when it was last written to.
    is_broken: bool,
    /// How many wait for all lines to be written.
    flushing: usize,
    /// There is nobody left who could write a line.
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

    /// Takes whole lines, or drops them. Never waits.
    pub(super) fn push(&self, source: &Source, text: Vec<u8>) {
        let mut state = self.lock();
        self.add(&mut state, source, text, Instant::now());
    }

    /// Takes whole lines; waits until there is room for them, for as long as the output takes any.
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
        // The thread is awake as long as it has something to write, or to tell.
        let was_idle = state.queue.is_empty() && !state.is_writing;
        let is_taken = state.queue.push(source, text, now);
        if was_idle || !is_taken {
            self.filled.notify_one();
        }
    }

    /// Waits for lines, and takes them. None when no more will come.
    pub(super) fn take(&self, report: impl Fn(&str) -> String) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            // Reports that nobody reads are tried again at their time, and not without a pause.
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

    /// A batch has been written, or given up after its first `written` bytes.
    pub(super) fn finish(&self, batch: &Batch, written: usize) {
        let mut state = self.lock();
        state.queue.finish(batch, written, Instant::now());
        state.is_writing = false;
        state.is_stuck = false;
        state.is_broken = written < batch.text.len();
        self.moved.notify_all();
    }

    /// Waits before an output that failed is tried again. `false` if nobody is left whose lines it
    /// could be.
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

    /// Waits until everything so far is written, or until `until`.
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

    /// No line will come any more.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
    }

    /// A panic while the lock is held leaves a queue that is whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
