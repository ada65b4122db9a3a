//! Counted permits, for requests in a handler, instances in a pool and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A counter of acquired permits. Any thread can acquire a permit, and acquisition never blocks.
#[derive(Debug, Default)]
pub(crate) struct Permits {
    taken: AtomicUsize,
}

/// One permit, released when it is dropped.
#[derive(Debug)]
#[must_use = "a permit is given back when it is dropped"]
pub(crate) struct Permit {
    permits: Arc<Permits>,
    /// The number of available permits when this one was acquired, itself included.
    left: usize,
}

impl Permits {
    /// Acquires a permit, unless `limit` are acquired already. The caller passes the limit because
    /// it can change between calls: with a new version of a handler, or with the configuration.
    pub(crate) fn try_acquire(permits: &Arc<Permits>, limit: usize) -> Option<Permit> {
        // Relaxed: no other memory access depends on the count.
        let one_more = |taken| (taken < limit).then_some(taken + 1);
        let before = permits
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Permit {
            permits: Arc::clone(permits),
            left: limit - before,
        })
    }

    /// Returns the number of permits acquired now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Reports whether at most `count` permits were available when this one was acquired, itself
    /// included.
    pub(crate) fn is_among_last(&self, count: usize) -> bool {
        self.left <= count
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.permits.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_permits_are_acquired_than_the_limit() {
        let permits = Arc::new(Permits::default());
        let first = Permits::try_acquire(&permits, 2).expect("one of two");
        let second = Permits::try_acquire(&permits, 2).expect("two of two");
        assert!(Permits::try_acquire(&permits, 2).is_none());
        assert_eq!(permits.taken(), 2);
        drop(first);
        let third = Permits::try_acquire(&permits, 2).expect("one was given back");
        assert!(Permits::try_acquire(&permits, 0).is_none());
        drop((second, third));
        assert_eq!(permits.taken(), 0);
    }

    #[test]
    fn a_permit_knows_whether_it_is_among_the_last() {
        let permits = Arc::new(Permits::default());
        let first = Permits::try_acquire(&permits, 2).expect("one of two");
        let second = Permits::try_acquire(&permits, 2).expect("two of two");
        assert!(!first.is_among_last(1) && second.is_among_last(1));
    }

    #[test]
    fn threads_never_exceed_the_limit_together() {
        let permits = Arc::new(Permits::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let permit = Permits::try_acquire(&permits, 2);
                        assert!(permits.taken() <= 2);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(permits.taken(), 0);
    }
}
