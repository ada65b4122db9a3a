//! Work of a loader that remains after its program can be served.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A place for work that a loader defers until its program is served, and for which no request has
/// to wait: for example, storing compiled code on a disk. It runs on the thread of the load, and a
/// server that stops waits for it for a limited time (`STOP_PATIENCE`).
#[derive(Default)]
pub(crate) struct Later(Cell<Option<Work>>);

type Work = Box<dyn FnOnce() -> Renewal>;

/// What to do with a program after its deferred work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// Continue to serve it.
    Unneeded,
    /// Replace it with the one that the loader [recalls](super::Load::recall) now.
    Recall,
}

impl Later {
    /// Defers work. There is at most one piece of work: another one replaces it.
    pub(crate) fn put(&self, work: impl FnOnce() -> Renewal + 'static) {
        self.0.set(Some(Box::new(work)));
    }

    /// Runs the deferred work, if any. Work that panics counts as done.
    pub(crate) fn run(&self) -> Renewal {
        let Some(work) = self.0.take() else {
            return Renewal::Unneeded;
        };
        catch_unwind(AssertUnwindSafe(work)).unwrap_or(Renewal::Unneeded)
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Later").finish_non_exhaustive()
    }
}
