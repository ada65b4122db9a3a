//! How many requests are in a handler at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts requests in and out. Any thread may use it; nobody ever waits at it.
#[derive(Debug, Default)]
pub struct Gate {
    inside: AtomicUsize,
}

/// One request's stay inside a [`Gate`], which ends when this is dropped.
#[derive(Debug)]
#[must_use = "the request is only counted for as long as its pass is held"]
pub struct Pass {
    gate: Arc<Gate>,
}

impl Gate {
    /// Lets one more in, unless `limit` are inside already. The limit is the caller's, since it can
    /// change from one version of the handler to the next.
    pub fn enter(gate: &Arc<Gate>, limit: usize) -> Option<Pass> {
        // Relaxed: the count orders nothing but itself.
        let enter = |inside| (inside < limit).then_some(inside + 1);
        gate.inside
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .ok()
            .map(|_| Pass {
                gate: Arc::clone(gate),
            })
    }

    /// How many are inside now.
    pub fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit() {
        let gate = Arc::new(Gate::default());
        let first = Gate::enter(&gate, 2).expect("room");
        let second = Gate::enter(&gate, 2).expect("room");
        assert!(Gate::enter(&gate, 2).is_none());
        assert_eq!(gate.inside(), 2);
        drop(first);
        let third = Gate::enter(&gate, 2).expect("room again");
        assert!(Gate::enter(&gate, 0).is_none());
        drop((second, third));
        assert_eq!(gate.inside(), 0);
    }

    #[test]
    fn threads_never_exceed_it_together() {
        let gate = Arc::new(Gate::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let pass = Gate::enter(&gate, 2);
                        assert!(gate.inside() <= 2);
                        drop(pass);
                    }
                });
            }
        });
        assert_eq!(gate.inside(), 0);
    }
}
