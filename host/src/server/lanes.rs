//! Who computes of the requests to a handler, and who waits until it is through.
//!
//! Requests that compute for some milliseconds are all answered sooner, and with fewer instances,
//! if one is through before the next begins: sixty that take turns have sixty instances, and none
//! of their memory in the processor's cache. So a call that is made to yield has its handler's lane
//! on this thread, and calls to the same handler wait behind it, without an instance. After
//! [`LANE_TIME`] it leaves the lane, and takes turns with whoever computes.
//!
//! Nobody waits behind another handler's calls, nor behind one that waits itself.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::calls::CallId;

/// How long a call may compute before others of its handler no longer wait for it: what a page of
/// a framework in Python takes in a fresh instance, some times over.
pub(super) const LANE_TIME: Duration = Duration::from_millis(20);

/// How a call stands to its handler's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LaneRole {
    /// It has not computed for a tick, or for more than [`LANE_TIME`].
    Outside,
    /// It has the lane.
    Holder,
    /// It waits for the lane, and has not begun.
    Queued,
}

/// The lanes of one thread. A handler has one while one of its calls computes.
#[derive(Debug)]
pub(super) struct Lanes<H>(Vec<Lane<H>>);

#[derive(Debug)]
struct Lane<H> {
    handler: Arc<H>,
    /// Those that have not begun, in the order in which they came.
    queued: VecDeque<CallId>,
}

impl<H> Lanes<H> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// Has a call wait, if there is somebody to wait for.
    pub(super) fn join(&mut self, handler: &Arc<H>, call: CallId) -> bool {
        let Some(index) = self.of(handler) else {
            return false;
        };
        self.0[index].queued.push_back(call);
        true
    }

    /// Gives a call the lane, if nobody has it.
    pub(super) fn take(&mut self, handler: &Arc<H>) -> bool {
        if self.of(handler).is_some() {
            return false;
        }
        self.0.push(Lane {
            handler: handler.clone(),
            queued: VecDeque::new(),
        });
        true
    }

    /// Who has the lane next, when the one that had it has left. It may be gone meanwhile: then
    /// it is to be asked again.
    pub(super) fn next(&mut self, handler: &Arc<H>) -> Option<CallId> {
        let index = self.of(handler)?;
        let next = self.0[index].queued.pop_front();
        if next.is_none() {
            self.0.swap_remove(index);
        }
        next
    }

    fn of(&self, handler: &Arc<H>) -> Option<usize> {
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
