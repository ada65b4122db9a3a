//! Serializes the calls of a handler that compute.
//!
//! When requests compute for some milliseconds, running one to its end before the next starts
//! answers all of them sooner and needs fewer instances: sixty that take turns have sixty
//! instances, whose memory never stays in the processor's cache. So a call that is made to yield
//! holds its handler's lane on this thread, and later calls to the same handler queue behind it,
//! without an instance. After [`LANE_TIME`], it leaves the lane and takes turns with the other
//! computing calls.
//!
//! No call waits behind another handler's calls, or behind a call that is waiting itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::calls::CallId;

/// The maximum time that a call holds the lane: several times what a page of a Python framework
/// takes in a fresh instance.
pub(super) const LANE_TIME: Duration = Duration::from_millis(20);

/// The role of a call in its handler's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneRole {
    /// It has computed for less than a tick, or for more than [`LANE_TIME`].
    Outside,
    /// It holds the lane.
    Holder,
    /// It has not started: it waits for the lane, or for its turn.
    Queued,
}

/// The lanes of one thread. A handler has a lane while one of its calls computes.
#[derive(Debug)]
pub(super) struct Lanes<H>(Vec<Lane<H>>);

#[derive(Debug)]
struct Lane<H> {
    handler: Arc<H>,
    /// The calls that have not started, oldest first.
    queued: VecDeque<CallId>,
}

impl<H> Lanes<H> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Queues a call if the handler's lane is held. Returns whether it did.
    pub(super) fn join(&mut self, handler: &Arc<H>, call: CallId) -> bool {
        let Some(index) = self.index(handler) else {
            return false;
        };
        self.0[index].queued.push_back(call);
        true
    }

    /// Gives the lane to a call if the lane is free. Returns whether it did.
    pub(super) fn take(&mut self, handler: &Arc<H>) -> bool {
        if self.index(handler).is_some() {
            return false;
        }
        self.0.push(Lane {
            handler: handler.clone(),
            queued: VecDeque::new(),
        });
        true
    }

    /// Returns the next holder, after the previous one has left the lane. That call may be gone;
    /// then call this again.
    pub(super) fn next(&mut self, handler: &Arc<H>) -> Option<CallId> {
        let index = self.index(handler)?;
        let next = self.0[index].queued.pop_front();
        if next.is_none() {
            self.0.swap_remove(index);
        }
        next
    }

    fn index(&self, handler: &Arc<H>) -> Option<usize> {
        self.0
            .iter()
            .position(|lane| Arc::ptr_eq(&lane.handler, handler))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_in_the_order_in_which_they_came() {
        let [one, other] = [Arc::new("one"), Arc::new("other")];
        let [first, second] = [1, 2].map(CallId::example);
        let mut lanes = Lanes::new();
        assert!(!lanes.join(&one, first), "there is nobody to wait for");
        assert!(lanes.take(&one) && !lanes.take(&one));
        assert!(!lanes.join(&other, first), "another handler's lane");
        assert!(lanes.join(&one, first) && lanes.join(&one, second));
        assert_eq!(lanes.next(&one), Some(first));
        assert_eq!(lanes.next(&one), Some(second));
        assert_eq!(lanes.next(&one), None);
        assert!(!lanes.join(&one, first), "the lane is gone");
    }

    #[test]
    fn another_version_of_a_handler_has_a_lane_of_its_own() {
        let [old, new] = [Arc::new("one"), Arc::new("one")];
        let mut lanes = Lanes::new();
        assert!(lanes.take(&old) && lanes.take(&new));
    }
}
