//! What a loader has yet to do for a program that can be served.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Takes work that a loader leaves for the time when its program is served, and that nobody has to
/// wait for: to keep what it compiled on a disk, for example. It is done on the thread of the load,
/// and a server that stops waits for it for a moment ([`STOP_PATIENCE`](super::STOP_PATIENCE)).
#[derive(Default)]
pub struct Later(Cell<Option<Work>>);

type Work = Box<dyn FnOnce() -> Renewal>;

/// What becomes of a program when the work that was left for later is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is served on.
    Unneeded,
    /// The one that the loader [recalls](super::Load::recall) now is to be served in its place.
    Recall,
}

impl Later {
    /// Leaves work for later. There is one piece at most: another one replaces it.
    pub fn put(&self, work: impl FnOnce() -> Renewal + 'static) {
        self.0.set(Some(Box::new(work)));
    }

    /// Does the work, if there is any. Work that panics is done with.
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
