//! The size of a guest's memory.

/// The total size of a guest's memories, initially and now, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Footprint {
    first: usize,
    now: usize,
}

impl Footprint {
    /// Returns the total size after one of the memories has grown.
    pub(in crate::engine) fn after(self, from: usize, to: usize) -> usize {
        self.now.saturating_add(to.saturating_sub(from))
    }

    /// Records the growth of a memory. Growth from zero is its creation.
    pub(in crate::engine) fn grow(&mut self, from: usize, to: usize) {
        if from == 0 {
            self.first = self.first.saturating_add(to);
        }
        self.now = self.after(from, to);
    }

    /// Returns how much the budget leaves for growth of the memories, in bytes.
    pub(in crate::engine) fn room(self, budget_bytes: usize) -> usize {
        budget_bytes.saturating_sub(self.first)
    }

    /// Returns whether three quarters of the possible growth are used up, so that the next request
    /// may run out of memory. Memory never shrinks, and many programs leak.
    pub(in crate::engine) fn is_nearly_full(self, budget_bytes: usize) -> bool {
        let room = self.room(budget_bytes);
        self.now.saturating_sub(self.first) > room / 4 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_begins_with_is_no_leak() {
        let mut footprint = Footprint::default();
        footprint.grow(0, 90);
        assert!(!footprint.is_nearly_full(100));
        assert!(!footprint.is_nearly_full(90));
        footprint.grow(90, 96);
        assert!(!footprint.is_nearly_full(100));
        footprint.grow(96, 99);
        assert!(footprint.is_nearly_full(100));
    }

    #[test]
    fn all_memories_of_an_instance_count_together() {
        let mut footprint = Footprint::default();
        footprint.grow(0, 40);
        footprint.grow(0, 50);
        assert_eq!(footprint.after(40, 60), 110);
        footprint.grow(40, 49);
        assert!(footprint.is_nearly_full(100));
    }
}
