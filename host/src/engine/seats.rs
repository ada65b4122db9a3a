//! The pools that are there from the start have few places. Who gets none goes on to the next one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Places in a pool, counted.
#[derive(Debug)]
pub(super) struct Seats {
    free: AtomicU32,
}

/// One place, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    /// How many were free when this one was, itself among them.
    free: u32,
}

impl Seats {
    pub(super) fn new(count: u32) -> Self {
        Self {
            free: AtomicU32::new(count),
        }
    }

    /// Takes a place, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Seat> {
        let less = |free: u32| free.checked_sub(1);
        let free = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok()?;
        let seats = self.clone();
        Some(Seat { seats, free })
    }
}

impl Seat {
    /// Whether no more than so many were free when it was taken.
    pub(super) fn is_among_last(&self, count: u32) -> bool {
        self.free <= count
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.free.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_there_are() {
        let seats = Arc::new(Seats::new(2));
        let first = seats.take();
        let second = seats.take();
        assert!(seats.take().is_none());
        let (first, second) = (first.expect("two"), second.expect("two"));
        assert!(!first.is_among_last(1) && second.is_among_last(1));
        drop(first);
        assert!(seats.take().is_some());
    }
}
