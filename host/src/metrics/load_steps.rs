//! The steps of one load of a handler.

use std::cell::Cell;
use std::time::Instant;

use super::process::LoadStep;

/// The steps of one load of a handler, in order. The time of each is counted when the next one
/// begins, or the load ends.
#[derive(Debug)]
pub(crate) struct LoadSteps {
    current: Cell<LoadStep>,
    since: Cell<Instant>,
}

impl LoadSteps {
    /// Creates the steps of a load that begins now with [`LoadStep::Read`].
    pub(crate) fn new() -> Self {
        Self {
            current: Cell::new(LoadStep::Read),
            since: Cell::new(Instant::now()),
        }
    }

    /// Begins a step, which ends the current one.
    pub(crate) fn begin(&self, step: LoadStep) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since.replace(now));
        self.current.replace(step).took(took);
    }

    /// Returns the current step.
    pub(crate) fn current(&self) -> LoadStep {
        self.current.get()
    }
}

impl Drop for LoadSteps {
    fn drop(&mut self) {
        self.begin(self.current());
    }
}
