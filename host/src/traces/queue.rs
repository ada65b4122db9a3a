//! The spans that wait for their export.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::message::SpanMessage;
use super::options::Batch;

/// A bounded queue of spans. A span that finds no space is dropped and counted.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Batch,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<SpanMessage>,
    dropped: u64,
    is_closed: bool,
    /// The exporter has ended.
    is_done: bool,
}

impl Queue {
    pub(super) fn new(limits: Batch) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Adds a span. Never waits.
    pub(super) fn push(&self, span: SpanMessage) {
        let mut state = self.lock();
        if state.spans.len() >= self.limits.queue_spans || state.is_done {
            state.dropped += 1;
            return;
        }
        state.spans.push_back(span);
        if state.spans.len() == self.limits.batch_spans {
            self.changed.notify_all();
        }
    }

    /// Counts spans that were dropped.
    pub(super) fn drop_spans(&self, count: u64) {
        self.lock().dropped += count;
    }

    /// Returns the number of spans that were dropped since the last call.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Waits for a full batch, for the delay to pass, or for the end, and takes a batch. It is
    /// empty if there are no spans. Returns `None` at the end.
    pub(super) fn take(&self) -> Option<Vec<SpanMessage>> {
        let until = Instant::now() + self.limits.delay;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let is_full = state.spans.len() >= self.limits.batch_spans;
            if is_full || left.is_zero() || state.is_closed {
                if state.is_closed && state.spans.is_empty() {
                    return None;
                }
                let count = state.spans.len().min(self.limits.batch_spans);
                return Some(state.spans.drain(..count).collect());
            }
            state = self.wait(state, left);
        }
    }

    /// Waits before a batch is sent again. Returns `false` at the end.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.is_closed || left.is_zero() {
                return !state.is_closed;
            }
            state = self.wait(state, left);
        }
    }

    /// Begins the end: what is queued is sent, without retries.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Says that the exporter has ended.
    pub(super) fn done(&self) {
        self.lock().is_done = true;
        self.changed.notify_all();
    }

    /// Waits for the end of the exporter. Returns whether it has ended.
    pub(super) fn wait_for_end(&self, until: Instant) -> bool {
        let mut state = self.lock();
        while !state.is_done {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait(state, left);
        }
        true
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, time: Duration) -> MutexGuard<'s, State> {
        let waited = self.changed.wait_timeout(state, time);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Locks the state. A panic while the lock is held leaves it consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_and_the_end_takes_the_rest() {
        let queue = Queue::new(Batch {
            delay: Duration::from_secs(3600),
            export_timeout: Duration::from_secs(1),
            queue_spans: 5,
            batch_spans: 2,
        });
        for _ in 0..8 {
            queue.push(SpanMessage::default());
        }
        assert_eq!((queue.take_dropped(), queue.take_dropped()), (3, 0));
        for expected in [2, 2] {
            assert_eq!(queue.take().map(|batch| batch.len()), Some(expected));
        }
        queue.close();
        assert!(!queue.pause(Duration::from_secs(3600)));
        assert_eq!(queue.take().map(|batch| batch.len()), Some(1));
        assert_eq!(queue.take(), None);
        queue.done();
        assert!(queue.wait_for_end(Instant::now()));
        queue.push(SpanMessage::default());
        assert_eq!(queue.take_dropped(), 1);
    }
}
