//! Publishes the current snapshot to the reactors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Registry;

/// The current [`Registry`], shared by all threads.
///
/// A reactor that reads the registry once per request should hold a [`Reader`]: while nothing has
/// changed, reading costs one atomic load and touches no lock and no reference count.
#[derive(Debug)]
pub struct Shared<P> {
    current: Mutex<Arc<Registry<P>>>,
    generation: AtomicU64,
    pages_generation: AtomicU64,
}

/// One thread's view of a [`Shared`].
#[derive(Debug)]
pub struct Reader<P> {
    shared: Arc<Shared<P>>,
    registry: Arc<Registry<P>>,
    generation: u64,
}

impl<P> Shared<P> {
    /// Publishes a first snapshot.
    pub fn new(registry: Registry<P>) -> Shared<P> {
        Shared {
            current: Mutex::new(Arc::new(registry)),
            generation: AtomicU64::new(0),
            pages_generation: AtomicU64::new(0),
        }
    }

    /// Returns the current snapshot.
    pub fn current(&self) -> Arc<Registry<P>> {
        Arc::clone(&self.lock())
    }

    /// Replaces the snapshot and returns the old one. The caller decides which thread drops the
    /// last reference, which frees the memory of compiled code.
    pub fn publish(&self, registry: Registry<P>) -> Arc<Registry<P>> {
        let mut current = self.lock();
        // Incremented under the lock, so that a reader that sees the new number finds the new
        // snapshot, or a newer one.
        self.generation.fetch_add(1, Ordering::Release);
        std::mem::replace(&mut current, Arc::new(registry))
    }

    /// Returns the number of snapshots published after the first one.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Returns the number of changes in the folder of pages, for caches of pages and for browsers
    /// that watch for changes.
    pub fn pages_generation(&self) -> u64 {
        self.pages_generation.load(Ordering::Acquire)
    }

    /// Records a change in the folder of pages.
    pub fn pages_changed(&self) {
        self.pages_generation.fetch_add(1, Ordering::Release);
    }

    /// Locks the snapshot. A poisoned lock is harmless: a thread that panicked while holding it
    /// cannot have left a partial snapshot behind.
    fn lock(&self) -> MutexGuard<'_, Arc<Registry<P>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Reader<P> {
    /// Creates a view that starts with the current snapshot.
    pub fn new(shared: Arc<Shared<P>>) -> Reader<P> {
        // Read the generation first: if it is too old, the cost is one needless refresh; if it were
        // too new, the reader would miss an update.
        let generation = shared.generation();
        let registry = shared.current();
        Reader {
            shared,
            registry,
            generation,
        }
    }

    /// Returns the current snapshot.
    pub fn current(&mut self) -> &Arc<Registry<P>> {
        let generation = self.shared.generation();
        if generation != self.generation {
            self.registry = self.shared.current();
            self.generation = generation;
        }
        &self.registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_is_published() {
        let shared = Arc::new(Shared::new(Registry::example(&[])));
        let mut reader = Reader::new(Arc::clone(&shared));
        assert!(reader.current().handler("hello").is_none());

        let old = shared.publish(Registry::example(&["hello"]));
        assert!(old.handlers().is_empty());
        assert_eq!(shared.generation(), 1);
        assert!(reader.current().handler("hello").is_some());
        assert!(Arc::ptr_eq(reader.current(), &shared.current()));
    }

    #[test]
    fn a_request_keeps_its_version() {
        let shared = Shared::new(Registry::example(&["hello"]));
        let kept = Arc::clone(shared.current().handler("hello").expect("hello"));
        drop(shared.publish(Registry::example(&[])));
        assert!(shared.current().handler("hello").is_none());
        assert_eq!(kept.name.as_ref(), "hello");
    }

    #[test]
    fn readers_on_other_threads_end_up_with_the_last_one() {
        let shared = Arc::new(Shared::new(Registry::example(&[])));
        let names: Vec<String> = (0..200).map(|number| format!("h{number}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut reader = Reader::new(Arc::clone(&shared));
                    while reader.current().handler("h199").is_none() {
                        std::thread::yield_now();
                    }
                });
            }
            for name in &names {
                shared.publish(Registry::example(&[name]));
            }
        });
    }
}
