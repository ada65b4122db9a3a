//! The calls of a reactor: starting, continuing and ending them.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Reactor;
use crate::dev::{Failed, Report};
use crate::engine::{Finished, Program};
use crate::gateway::Failure;
use crate::log;
use crate::permits::Permits;
use crate::registry::Handler;
use crate::server::calls::{CallId, Running};
use crate::server::lanes::{LANE_TIME, LaneRole};
use crate::server::ready::CALLS_TIME;
use crate::server::record::RequestName;

/// The time for computing calls in a turn, before the kernel is polled again: as long as one of
/// them runs until it is made to yield. All queued calls that are short run in one turn: otherwise
/// some would always be left over and delay those that arrive later.
const COMPUTING_TIME: Duration = Duration::from_millis(1);

impl Reactor {
    /// Runs calls that wait for their turn, for a short time.
    pub(super) fn run_ready(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        let end = Instant::now() + CALLS_TIME;
        while let Some(call) = self.ready.pop() {
            // Otherwise it has ended.
            if self.cx.calls.get_mut(call).is_some() {
                self.continue_call(call);
                if Instant::now() >= end {
                    return;
                }
            }
        }
    }

    /// Runs the computing calls, including those that waited for a lane. A call that is made to
    /// yield continues after all others have had their turn.
    pub(super) fn compute(&mut self) {
        let end = self.cx.now + COMPUTING_TIME;
        for _ in 0..self.cx.calls.len() {
            let Some(call) = self.computing.pop_front() else {
                return;
            };
            self.poll_call(call);
            let yielded = matches!(self.cx.calls.at(call), Some(running) if running.computing);
            if yielded && Instant::now() >= end {
                return;
            }
        }
    }

    /// Continues a woken call, and the connection that waits for it.
    fn poll_call(&mut self, place: usize) {
        let Some(connection) = self.cx.calls.at(place).map(|running| running.connection) else {
            return;
        };
        let finished = self.run_call(place);
        if let Some(connection) = connection {
            self.drive(connection);
        }
        drop(finished);
    }

    /// Continues a woken call, now or when it has its turn.
    pub(super) fn wake_call(&mut self, place: usize) {
        let Some(running) = self.cx.calls.at(place) else {
            return;
        };
        if running.computing {
            self.computing.push_back(place);
        } else if running.lane_role == LaneRole::Queued {
            // The wake-up was meant for an earlier call.
        } else if self.ready.is_empty() && self.turn.allows(Instant::now) {
            self.poll_call(place);
        } else if let Some(call) = self.cx.calls.id_at(place) {
            self.ready.push(&running.handler, call);
        }
    }

    /// Runs a call that has its turn: a woken one, or one that has not started.
    fn continue_call(&mut self, call: CallId) {
        let Some(running) = self.cx.calls.get_mut(call) else {
            return;
        };
        if running.lane_role != LaneRole::Queued {
            return self.poll_call(call.place);
        }
        running.lane_role = LaneRole::Outside;
        running.queued = None;
        let connection = running.connection;
        let finished = self.start_call(call);
        if let Some(connection) = connection {
            self.drive(connection);
        }
        drop(finished);
    }

    /// Runs a new call, now or when it has its turn.
    pub(super) fn begin_call(&mut self, call: CallId) -> Option<Finished> {
        if self.ready.is_empty() && self.turn.allows(Instant::now) {
            return self.start_call(call);
        }
        let running = self.cx.calls.get_mut(call)?;
        running.lane_role = LaneRole::Queued;
        running.queued = Permits::try_acquire(&running.handler.usage.queue, usize::MAX);
        if let Some(deadline) = running.clock.deadline() {
            self.call_deadlines.arm(call.place, deadline);
        }
        self.ready.push(&running.handler, call);
        None
    }

    /// Runs a new call, or queues it behind a computing call of the same handler.
    fn start_call(&mut self, call: CallId) -> Option<Finished> {
        if let Some(running) = self.cx.calls.at_mut(call.place)
            && self.lanes.join(&running.handler, call)
        {
            running.lane_role = LaneRole::Queued;
            running.queued = Permits::try_acquire(&running.handler.usage.queue, usize::MAX);
            if let Some(deadline) = running.clock.deadline() {
                self.call_deadlines.arm(call.place, deadline);
            }
            return None;
        }
        self.run_call(call.place)
    }

    /// Runs a call until it waits, yields or ends.
    fn run_call(&mut self, place: usize) -> Option<Finished> {
        let now = self.cx.now;
        let running = self.cx.calls.at_mut(place)?;
        if running.is_abandoned {
            self.end_call(place, Some(&Failure::ClientGone));
            return None;
        }
        running.clock.go_on(&running.exchange, now);
        self.working.set(true);
        let polled = {
            let _lines = log::gather();
            self.cx.calls.poll(place)
        };
        match polled {
            Poll::Pending => {
                if let Some(running) = self.cx.calls.at_mut(place) {
                    running.clock.rest(&running.exchange, now);
                    if let Some(deadline) = running.clock.deadline() {
                        self.call_deadlines.arm(place, deadline);
                    }
                    self.rank_call(place);
                }
                None
            }
            Poll::Ready(finished) => {
                self.end_call(place, finished.failure.as_ref());
                Some(finished)
            }
        }
    }

    /// Gives the handler's lane to a call that was made to yield, and takes it from a call that
    /// waits or has held it for too long.
    fn rank_call(&mut self, place: usize) {
        let Some(running) = self.cx.calls.at_mut(place) else {
            return;
        };
        let is_short = running.computing && running.call.computed() < LANE_TIME;
        if is_short && running.lane_role != LaneRole::Holder && self.lanes.take(&running.handler) {
            running.lane_role = LaneRole::Holder;
        } else if !is_short && running.lane_role == LaneRole::Holder {
            running.lane_role = LaneRole::Outside;
            let handler = running.handler.clone();
            self.free_lane(&handler);
        }
    }

    /// Starts the next queued call of a handler as a computing call.
    fn free_lane(&mut self, handler: &Arc<Handler<Program>>) {
        while let Some(call) = self.lanes.next(handler) {
            match self.cx.calls.get_mut(call) {
                Some(running) if running.lane_role == LaneRole::Queued => {
                    running.lane_role = LaneRole::Holder;
                    running.queued = None;
                    self.computing.push_back(call.place);
                    return;
                }
                // Its client has left.
                _ => {}
            }
        }
    }

    /// Removes a call. If it failed, notifies the connection that waits for it.
    pub(super) fn end_call(&mut self, place: usize, failure: Option<&Failure>) {
        let Some(running) = self.cx.calls.remove(place) else {
            return;
        };
        if running.lane_role == LaneRole::Holder {
            self.free_lane(&running.handler);
        }
        let counts = &running.handler.usage.counts;
        counts.computed(running.call.thread_time());
        let Some(failure) = failure else { return };
        counts.failed(failure.cause());
        let name = &*running.handler.name;
        let request = RequestName::new(&running.head, running.request_id.clone());
        self.explain(&running, request.id().as_str(), failure);
        let named_request = request.id().as_str();
        match failure {
            Failure::ClientGone => {
                tracing::debug!(handler = name, named_request, "{}", request.told(failure));
            }
            // The handler could not continue without its client, and correctly reports that: with
            // an exception, or in the way of other kinds of handlers.
            Failure::Exception(_)
            | Failure::Trap(_)
            | Failure::Exit(_)
            | Failure::BadResponse(_)
                if running.exchange.is_client_gone() =>
            {
                tracing::info!(
                    handler = name,
                    named_request,
                    "{}; its client has disconnected",
                    request.told(failure)
                );
            }
            _ if self.cx.turned_away.note(name, failure, self.cx.now) => {}
            _ => {
                let explained = self.cx.explained.as_ref();
                let excerpt = explained.map_or(String::new(), Report::excerpt);
                let told = request.told(failure);
                let failures = &self.shared.failures;
                failures.note(name, failure.cause(), named_request, &told);
                tracing::error!(handler = name, named_request, "{told}{excerpt}");
            }
        }
        if let Some(connection) = running.connection
            && let Some(connection) = self.connections.get_mut(connection)
        {
            connection.call_failed(failure, request.id(), &mut self.cx);
        }
        self.cx.explained = None;
    }

    /// Records the failure of a call for `wasgi dev`.
    fn explain(&mut self, running: &Running, id: &str, failure: &Failure) {
        let Some(dev) = &self.shared.dev else { return };
        if *failure == Failure::ClientGone || running.exchange.is_client_gone() {
            return;
        }
        let report = dev.request_failed(
            Failed {
                handler: &running.handler.name,
                file: &running.handler.file,
                head: &running.head,
                id,
                number: running.exchange.number(),
            },
            failure,
        );
        let connection = running.connection;
        if let Some(connection) = connection.and_then(|one| self.connections.get_mut(one)) {
            connection.explained(&report);
        }
        self.cx.explained = Some(report);
    }
}
