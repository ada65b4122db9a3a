//! A priority queue of deadlines.
//!
//! Deadlines move often (each request moves its connection's), so the heap is not updated on every
//! move. It has at most one live entry per place, at or before the true deadline. When the entry
//! expires, the owner of the place checks the true deadline and sets the next entry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The deadlines of the places of a slab.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The live entry of each place. It survives the occupant of the place: the next one uses it.
    armed: Vec<Option<Instant>>,
}

impl Deadlines {
    /// Sets `place` to expire at `at` or earlier.
    pub(super) fn arm(&mut self, place: usize, at: Instant) {
        if place >= self.armed.len() {
            self.armed.resize(place + 1, None);
        }
        if self.armed[place].is_none_or(|armed| at < armed) {
            self.armed[place] = Some(at);
            self.heap.push(Reverse((at, place)));
        }
    }

    /// Returns when the next place expires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Returns a place that has expired by `now`. It expires again only after another `arm`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<usize> {
        while self.next()? <= now {
            let Reverse((at, place)) = self.heap.pop()?;
            if self.armed[place] == Some(at) {
                self.armed[place] = None;
                return Some(place);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn places_come_up_once_in_order_and_the_earliest_entry_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.arm(3, at(30));
        deadlines.arm(1, at(10));
        deadlines.arm(3, at(20));
        deadlines.arm(3, at(40));
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop(at(5)), None);
        assert_eq!(deadlines.pop(at(50)), Some(1));
        assert_eq!(deadlines.pop(at(50)), Some(3));
        assert_eq!(deadlines.pop(at(50)), None);
        deadlines.arm(3, at(60));
        assert_eq!(deadlines.pop(at(60)), Some(3));
    }
}
