//! How a supervisor takes over from a running server, and hands over to its successor.

use std::process::ExitCode;
use std::time::Instant;

use super::{END_PATIENCE, Event, Phase, State, Supervisor};
use crate::server::Sockets;
use crate::upgrade::{OnEnd, Successor};

/// What a supervisor asks of the process around it.
pub(crate) trait Operator {
    /// Reads the configuration file again.
    fn look(&self);

    /// Reports whether this server replaces another one, which still serves.
    fn is_successor(&self) -> bool;

    /// Reports whether the sockets already listened before this server was started.
    fn is_activated(&self) -> bool;

    /// Says that the workers serve, and takes the place of the server that this one replaces.
    fn serves(&mut self);

    /// Starts a successor, which gets the sockets.
    fn begin_upgrade(&mut self, sockets: &Sockets, on_end: OnEnd);

    /// Says that this server can't start a successor.
    fn refuses(&mut self, why: &str);

    /// Handles the end of [`begin_upgrade`](Self::begin_upgrade). Returns whether the successor
    /// serves now.
    fn upgraded(&mut self, result: Result<Successor, String>) -> bool;

    /// Says that the workers stop.
    fn stops(&mut self);
}

impl Supervisor {
    /// Handles the report that a worker waits for permission to serve. When all do, they get it:
    /// one that fails before has not accepted any connection, and neither have the others.
    pub(super) fn prepared(&mut self, pid: u32) -> anyhow::Result<()> {
        if let Some(worker) = self.worker(pid) {
            worker.is_prepared = true;
        }
        self.start_others()?;
        let count = self.workers().filter(|worker| worker.is_prepared).count();
        if count < self.slots.len() {
            return Ok(());
        }
        self.is_held = false;
        for slot in &mut self.slots {
            if let State::Running(worker) = &mut slot.state {
                worker.serve();
            }
        }
        Ok(())
    }

    pub(super) fn begin_upgrade(&mut self, operator: &mut dyn Operator) {
        let Phase::Serving = self.phase else {
            return operator.refuses("the server is starting or stopping");
        };
        let sender = self.sender.clone();
        let on_end = Box::new(move |result| {
            // Fails if the supervisor has ended.
            let _ = sender.send(Event::Upgraded(result));
        });
        if let Some(sockets) = &self.sockets {
            operator.begin_upgrade(sockets, on_end);
        }
    }

    /// Handles the end of an upgrade.
    pub(super) fn upgraded(
        &mut self,
        result: Result<Successor, String>,
        operator: &mut dyn Operator,
    ) {
        // A server that stops meanwhile has ended its successor.
        if matches!(self.phase, Phase::Serving) && operator.upgraded(result) {
            self.leave();
        }
    }

    /// Leaves the sockets to a successor, and stops.
    fn leave(&mut self) {
        self.board.drains();
        self.sockets = None;
        let until = Instant::now() + self.drain.grace + END_PATIENCE;
        self.phase = Phase::Stopping {
            until,
            code: ExitCode::SUCCESS,
            is_signalled: false,
        };
        for slot in &mut self.slots {
            match &mut slot.state {
                State::Running(worker) => worker.leave(),
                State::Empty => {}
                State::Away(_) => slot.state = State::Empty,
            }
        }
    }
}
