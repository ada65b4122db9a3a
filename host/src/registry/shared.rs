//! Where the current snapshot is published, and how the reactors notice a new one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Registry;

/// The current [`Registry`], for every thread.
///
/// A reactor that asks once per request should hold a [`Reader`]: as long as nothing has changed,
/// that costs one load of an atomic and touches no lock and no reference count.
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

    /// The snapshot that is served now.
    pub fn current(&self) -> Arc<Registry<P>> {
        Arc::clone(&self.lock())
    }

    /// Swaps the snapshot for a new one, and gives the old one back: the caller decides on which
    /// thread its last reference goes, and with it the memory of compiled code.
    pub fn publish(&self, registry: Registry<P>) -> Arc<Registry<P>> {
        let mut current = self.lock();
        // Under the lock, so that a reader which sees the number finds the snapshot, or a newer
        // one.
        self.generation.fetch_add(1, Ordering::Release);
        std::mem::replace(&mut current, Arc::new(registry))
    }

    /// How many snapshots were published after the first one.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How many times something has changed in the folder of pages: for caches of pages and for
    /// browsers that want to know.
    pub fn pages_generation(&self) -> u64 {
        self.pages_generation.load(Ordering::Acquire)
    }

    /// Says that something has changed in the folder of pages.
    pub fn pages_changed(&self) {
        self.pages_generation.fetch_add(1, Ordering::Release);
    }

    /// A thread that panicked while it held the lock can't have left half a snapshot behind.
    fn lock(&self) -> MutexGuard<'_, Arc<Registry<P>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Reader<P> {
    /// A view that starts with the current snapshot.
    pub fn new(shared: Arc<Shared<P>>) -> Reader<P> {
        // The number first: read too early, it costs one needless look; too late, an update.
        let generation = shared.generation();
        let registry = shared.current();
        Reader {
            shared,
            registry,
            generation,
        }
    }

    /// The snapshot that is served now.
    pub fn current(&mut self) -> &Arc<Registry<P>> {
        let generation = self.shared.generation();
        if generation != self.generation {
            self.registry = self.shared.current();
            self.generation = generation;
        }
        &self.registry
    }

    /// What this is a view of.
    pub fn shared(&self) -> &Arc<Shared<P>> {
        &self.shared
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
