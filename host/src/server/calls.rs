//! The calls of a reactor, each with the connection that waits for it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::inbox::{CallWaker, Inbox};
use super::lanes::LaneRole;
use super::wall_clock::WallClock;
use crate::engine::{Call, Finished, HandlerKind, Program};
use crate::gateway::{Exchange, RequestId};
use crate::http1::RequestHead;
use crate::permits::Permit;
use crate::registry::Handler;

/// One call and its related state.
#[derive(Debug)]
pub(super) struct Running {
    /// The request, as the log names it.
    pub(super) head: Arc<RequestHead>,
    /// The identifier of the request, if each has one.
    pub(super) request_id: Option<RequestId>,
    pub(super) call: Call,
    pub(super) exchange: Arc<Exchange>,
    /// Keeps the version alive that the request started with.
    pub(super) handler: Arc<Handler<Program>>,
    /// The connection that waits for the response; `None` if the client has left or has received
    /// the whole response.
    pub(super) connection: Option<usize>,
    /// It had more to compute when it last yielded.
    pub(super) computing: bool,
    /// Its role in its handler's lane.
    pub(super) lane_role: LaneRole,
    /// Its permit among the handler's queued requests, while it waits for the lane.
    pub(super) queued: Option<Permit>,
    /// Its wall time.
    pub(super) clock: WallClock,
    /// Its client has gone, and the call ends at its next turn.
    pub(super) is_abandoned: bool,
    /// Its permit among the handler's requests in flight, released on drop.
    pub(super) _permit: Permit,
}

/// Identifies a call. Places are reused; the serial number detects a stale ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallId {
    pub(super) place: usize,
    serial: u64,
}

#[cfg(test)]
impl CallId {
    pub(super) fn example(place: usize) -> Self {
        Self { place, serial: 0 }
    }
}

/// A slab of calls. Places are reused, together with their wakers.
#[derive(Debug)]
pub(super) struct Calls {
    inbox: Arc<Inbox>,
    places: Vec<Place>,
    free: Vec<usize>,
    count: usize,
    /// The number of calls so far.
    serial: u64,
}

#[derive(Debug)]
struct Place {
    serial: u64,
    handle: Arc<CallWaker>,
    waker: Waker,
    running: Option<Box<Running>>,
}

impl Calls {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        Self {
            inbox,
            places: Vec::new(),
            free: Vec::new(),
            count: 0,
            serial: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a call.
    pub(super) fn insert(&mut self, running: Running) -> CallId {
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.places.len();
            let handle = CallWaker::new(self.inbox.clone(), place);
            let waker = Waker::from(handle.clone());
            self.places.push(Place {
                serial: 0,
                handle,
                waker,
                running: None,
            });
            place
        });
        self.serial += 1;
        self.count += 1;
        self.places[place].serial = self.serial;
        self.places[place].running = Some(Box::new(running));
        CallId {
            place,
            serial: self.serial,
        }
    }

    /// Returns the call at a place, if any.
    pub(super) fn at(&self, place: usize) -> Option<&Running> {
        self.places.get(place)?.running.as_deref()
    }

    /// Returns the ID of the call at a place, if any.
    pub(super) fn id_at(&self, place: usize) -> Option<CallId> {
        let found = self.places.get(place)?;
        let serial = found.running.as_ref().map(|_| found.serial)?;
        Some(CallId { place, serial })
    }

    /// Returns the call at a place, if any, for modification.
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut Running> {
        self.places.get_mut(place)?.running.as_deref_mut()
    }

    /// Removes a call that has not started.
    pub(super) fn forget(&mut self, call: CallId) {
        if self.get_mut(call).is_some() {
            drop(self.remove(call.place));
        }
    }

    /// Detaches the call from its connection: its response is complete.
    pub(super) fn detach(&mut self, call: CallId) {
        if let Some(running) = self.get_mut(call) {
            running.connection = None;
        }
    }

    /// Detaches the call from its connection: the client has gone. A call that has not started is
    /// removed. A call to a handler of the contract that waits, or has a body to close, is notified
    /// and continues for a while, so that `close` is called (B2). Any other call ends at its next
    /// turn.
    pub(super) fn leave(&mut self, call: CallId) {
        let Some(running) = self.get_mut(call) else {
            return;
        };
        if running.lane_role == LaneRole::Queued {
            return drop(self.remove(call.place));
        }
        running.connection = None;
        running.exchange.client_gone();
        let is_told = running.handler.program.kind() == HandlerKind::Gateway
            && (!running.computing || running.exchange.iterates());
        running.is_abandoned = !is_told;
        if let Some(place) = self.places.get(call.place) {
            place.waker.wake_by_ref();
        }
    }

    pub(super) fn get_mut(&mut self, call: CallId) -> Option<&mut Running> {
        let place = self.places.get_mut(call.place)?;
        if place.serial == call.serial {
            place.running.as_deref_mut()
        } else {
            None
        }
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<Box<Running>> {
        let running = self.places.get_mut(place)?.running.take()?;
        self.free.push(place);
        self.count -= 1;
        Some(running)
    }

    /// Runs a call until it waits, yields or ends.
    pub(super) fn poll(&mut self, place: usize) -> Poll<Finished> {
        let Some(place) = self.places.get_mut(place) else {
            return Poll::Pending;
        };
        let Some(running) = &mut place.running else {
            return Poll::Pending;
        };
        place.handle.rearm();
        let result = running.call.poll(&mut Context::from_waker(&place.waker));
        // A waiting call is woken by another event; a call that has woken itself was made to
        // yield.
        running.computing = place.handle.is_woken();
        result
    }

    /// Aborts every call.
    pub(super) fn clear(&mut self) {
        for place in 0..self.places.len() {
            drop(self.remove(place));
        }
    }
}
