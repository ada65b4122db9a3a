//! How a supervisor stops its workers.

use std::process::ExitCode;
use std::time::Instant;

use rustix::process::Signal;

use super::super::END_AT_ONCE;
use super::{END_PATIENCE, Operator, Phase, State, Supervisor};

impl Supervisor {
    /// Handles a termination signal.
    pub(super) fn stop(&mut self, operator: &mut dyn Operator) {
        match &mut self.phase {
            Phase::Stopping {
                is_signalled: is_signalled @ false,
                ..
            } => {
                // The requests in flight have their time already.
                *is_signalled = true;
                tracing::info!("stopping: already waiting for requests in flight");
            }
            Phase::Stopping { until, .. } => {
                tracing::warn!("stopping immediately: received a second signal");
                *until = Instant::now() + END_PATIENCE;
                if let Some(signal) = Signal::from_named_raw(END_AT_ONCE) {
                    self.workers().for_each(|worker| worker.signal(signal));
                }
            }
            Phase::Starting(_) | Phase::Serving => {
                tracing::info!("{}", self.drain.announcement());
                operator.stops();
                self.end_all(ExitCode::SUCCESS, true);
            }
        }
    }

    /// Stops all workers gracefully, because of a signal if it `is_signalled`.
    pub(super) fn end_all(&mut self, code: ExitCode, is_signalled: bool) {
        self.board.drains();
        // Each worker closes its own when it accepts no more connections.
        self.sockets = None;
        let until = Instant::now() + self.drain.delay + self.drain.grace + END_PATIENCE;
        self.phase = Phase::Stopping {
            until,
            code,
            is_signalled,
        };
        for slot in &mut self.slots {
            match &slot.state {
                // One that waits for permission to serve doesn't look at signals.
                State::Running(worker) if self.is_held => worker.signal(Signal::KILL),
                State::Running(worker) => worker.signal(Signal::TERM),
                State::Empty => {}
                State::Away(_) => slot.state = State::Empty,
            }
        }
    }
}
