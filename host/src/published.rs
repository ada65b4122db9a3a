//! A value that is replaced as a whole while many threads read it.

use std::mem;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A value published to all threads.
#[derive(Debug)]
pub(crate) struct Published<T> {
    current: Mutex<Arc<T>>,
    generation: AtomicU64,
}

/// One thread's view of a [`Published`]: the value that it saw last. Checking for a newer value
/// costs one atomic load if the value is unchanged.
#[derive(Debug)]
pub(crate) struct Reader<T> {
    published: Arc<Published<T>>,
    seen: Arc<T>,
    generation: u64,
}

impl<T> Published<T> {
    /// Publishes a first value.
    pub(crate) fn new(value: T) -> Self {
        Self {
            current: Mutex::new(Arc::new(value)),
            generation: AtomicU64::new(0),
        }
    }

    /// Returns the current value.
    pub(crate) fn current(&self) -> Arc<T> {
        Arc::clone(&self.lock())
    }

    /// Replaces the value and returns the old one. The caller decides which thread drops the last
    /// reference, since freeing the value may take long.
    pub(crate) fn publish(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        let mut current = self.lock();
        // Incremented under the lock, so that a reader that sees the new number finds the new
        // value, or a newer one.
        self.generation.fetch_add(1, Ordering::Release);
        mem::replace(&mut current, value)
    }

    /// Returns the number of values published after the first one.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Locks the value. A poisoned lock is harmless: a thread that panicked while holding it can't
    /// have left a partial value behind.
    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Reader<T> {
    /// Creates a view that starts with the current value.
    pub(crate) fn new(published: Arc<Published<T>>) -> Self {
        // Read the generation first: if it is too old, the cost is one needless refresh; if it were
        // too new, the reader would miss an update.
        let generation = published.generation();
        Self {
            seen: published.current(),
            published,
            generation,
        }
    }

    /// Updates the view to the current value.
    pub(crate) fn refresh(&mut self) {
        let generation = self.published.generation();
        if generation != self.generation {
            self.seen = self.published.current();
            self.generation = generation;
        }
    }

    /// Updates the view and returns the current value.
    pub(crate) fn current(&mut self) -> &Arc<T> {
        self.refresh();
        &self.seen
    }
}

/// Dereferences to the value that was seen last.
impl<T> Deref for Reader<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_what_it_saw_until_it_looks() {
        let published = Arc::new(Published::new(1));
        let mut reader = Reader::new(published.clone());
        let old = published.publish(2);
        assert_eq!((*old, *reader), (1, 1));
        assert_eq!(published.generation(), 1);
        reader.refresh();
        assert_eq!(*reader, 2);
        assert!(Arc::ptr_eq(reader.current(), &published.current()));
    }

    #[test]
    fn a_value_that_is_in_use_outlives_its_replacement() {
        let published = Published::new("old".to_owned());
        let kept = published.current();
        drop(published.publish("new".to_owned()));
        assert_eq!(*kept, "old");
    }

    #[test]
    fn readers_on_other_threads_end_up_with_the_last_one() {
        let published = Arc::new(Published::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut reader = Reader::new(Arc::clone(&published));
                    while **reader.current() < 200 {
                        std::thread::yield_now();
                    }
                });
            }
            for number in 1..=200 {
                published.publish(number);
            }
        });
    }
}
