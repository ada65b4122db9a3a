//! The calls of a reactor that can run, if there are more than it runs at once.
//!
//! A thousand requests that arrive together, or whose results do, would hold the thread until the
//! last of them has run. So a turn of the loop runs calls at once for a short time only
//! ([`TurnBudget`]). The calls after that wait here, and each turn runs some of them, for as long
//! again: one call of each handler at a time. A request to another handler waits for a few of them,
//! and a page for one turn.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::calls::CallId;

/// The time for calls in a turn, before the kernel is polled again: some thirty short requests, for
/// which the cost of a turn, a few microseconds, does not matter. Half of the time that computing
/// calls get (see `reactor`).
pub(super) const CALLS_TIME: Duration = Duration::from_micros(500);

/// The number of calls after which the time is read: few enough for calls of a hundred
/// microseconds.
const CALLS_PER_CHECK: u32 = 4;

/// The calls that a turn may still run at once.
#[derive(Debug)]
pub(super) struct TurnBudget {
    end: Instant,
    calls_count: u32,
    is_used_up: bool,
}

impl TurnBudget {
    /// Returns the budget of a turn that begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            end: now + CALLS_TIME,
            calls_count: 0,
            is_used_up: false,
        }
    }

    /// Counts a call. Returns whether the turn may run it. `now` returns the time.
    pub(super) fn allows(&mut self, now: impl FnOnce() -> Instant) -> bool {
        if self.is_used_up {
            return false;
        }
        if self.calls_count == CALLS_PER_CHECK {
            self.calls_count = 0;
            self.is_used_up = now() >= self.end;
        }
        self.calls_count += 1;
        !self.is_used_up
    }
}

/// Identifies a version of a handler by its address. The calls in the queue keep it alive, unless
/// they have ended; then another version may share the queue for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(usize);

/// The calls that wait for their turn: not yet started, or woken. A call that has ended meanwhile
/// may remain.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// The calls of each handler, longest waiting first. None is empty.
    queues: HashMap<Key, VecDeque<CallId>>,
    /// The handlers with calls, in the order of their turns.
    turns: VecDeque<Key>,
}

impl Ready {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds a call of a handler.
    pub(super) fn push<H>(&mut self, handler: &Arc<H>, call: CallId) {
        let key = Key(Arc::as_ptr(handler).addr());
        match self.queues.entry(key) {
            Entry::Occupied(queue) => queue.into_mut().push_back(call),
            Entry::Vacant(place) => {
                place.insert(VecDeque::from([call]));
                self.turns.push_back(key);
            }
        }
    }

    /// Takes the longest waiting call of the next handler.
    pub(super) fn pop(&mut self) -> Option<CallId> {
        let key = self.turns.pop_front()?;
        let Entry::Occupied(mut queue) = self.queues.entry(key) else {
            return None;
        };
        let call = queue.get_mut().pop_front();
        if queue.get().is_empty() {
            queue.remove();
        } else {
            self.turns.push_back(key);
        }
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_waits_for_one_call_of_each_other_handler_and_for_all_earlier_ones_of_its_own() {
        let [many, few] = [Arc::new("many"), Arc::new("few")];
        let mut ready = Ready::default();
        assert!(ready.is_empty() && ready.pop().is_none());
        let call = CallId::example;
        for place in 0..1000 {
            ready.push(&many, call(place));
        }
        ready.push(&few, call(1000));
        ready.push(&few, call(1001));
        let first: Vec<_> = (0..6).filter_map(|_| ready.pop()).collect();
        assert_eq!(first, [0, 1000, 1, 1001, 2, 3].map(call));
        ready.push(&few, call(1002));
        let next: Vec<_> = (0..3).filter_map(|_| ready.pop()).collect();
        assert_eq!(next, [4, 1002, 5].map(call));
        assert_eq!(std::iter::from_fn(|| ready.pop()).count(), 1000 - 6);
        assert!(ready.is_empty() && ready.queues.is_empty());
    }

    #[test]
    fn a_turn_runs_calls_until_its_time_is_over_and_then_none() {
        let start = Instant::now();
        let mut turn = TurnBudget::new(start);
        for _ in 0..100 {
            assert!(turn.allows(|| start));
        }
        let over = start + CALLS_TIME;
        let more = (0..100).filter(|_| turn.allows(|| over)).count();
        assert!(more < CALLS_PER_CHECK as usize, "{more}");
        assert!(!turn.allows(|| start), "it stays used up");
        assert!(TurnBudget::new(over).allows(|| over));
    }
}
