//! A value that is swapped whole while many threads read it.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value that is published, for every thread.
#[derive(Debug)]
pub struct Published<T> {
    current: Mutex<Arc<T>>,
    generation: AtomicU64,
}

/// One thread's view of a [`Published`]: the value that it saw last. To look for a newer one costs
/// one load of an atomic as long as there is none.
#[derive(Debug)]
pub struct Reader<T> {
    published: Arc<Published<T>>,
    seen: Arc<T>,
    generation: u64,
}

impl<T> Published<T> {
    /// Publishes a first value.
    pub fn new(value: T) -> Self {
        Self {
            current: Mutex::new(Arc::new(value)),
            generation: AtomicU64::new(0),
        }
    }

    /// The current value.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Swaps the value for a new one.
    pub fn publish(&self, value: T) {
        let value = Arc::new(value);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that a reader which sees the number finds the value, or a newer one.
        self.generation.fetch_add(1, Ordering::Release);
        *current = value;
    }
}

impl<T> Reader<T> {
    /// A view that starts with the current value.
    pub fn new(published: Arc<Published<T>>) -> Self {
        // The number first: read too early, it costs one needless look; too late, an update.
        let generation = published.generation.load(Ordering::Acquire);
        Self {
            seen: published.current(),
            published,
            generation,
        }
    }

    /// Looks for a newer value.
    pub fn refresh(&mut self) {
        let generation = self.published.generation.load(Ordering::Acquire);
        if generation != self.generation {
            self.seen = self.published.current();
            self.generation = generation;
        }
    }
}

/// The value that was seen last.
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
        published.publish(2);
        assert_eq!(*reader, 1);
        reader.refresh();
        assert_eq!(*reader, 2);
        assert_eq!(*published.current(), 2);
    }
}
