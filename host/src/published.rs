//! A value that is replaced as a whole while many threads read it.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A value published to all threads.
#[derive(Debug)]
pub struct Published<T> {
    current: Mutex<Arc<T>>,
    generation: AtomicU64,
}

/// One thread's view of a [`Published`]: the value that it saw last. Checking for a newer value
/// costs one atomic load if the value is unchanged.
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

    /// Returns the current value.
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value.
    pub fn publish(&self, value: T) {
        let value = Arc::new(value);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        // Incremented under the lock, so that a reader that sees the new number finds the new
        // value, or a newer one.
        self.generation.fetch_add(1, Ordering::Release);
        *current = value;
    }
}

impl<T> Reader<T> {
    /// Creates a view that starts with the current value.
    pub fn new(published: Arc<Published<T>>) -> Self {
        // Read the generation first: if it is too old, the cost is one needless refresh; if it were
        // too new, the reader would miss an update.
        let generation = published.generation.load(Ordering::Acquire);
        Self {
            seen: published.current(),
            published,
            generation,
        }
    }

    /// Updates the view to the current value.
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
