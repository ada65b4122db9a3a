//! What the thread that builds projects and its users share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::project::Project;

/// The end of a build that was not cancelled.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    /// The project's path in the handlers folder.
    pub(crate) file: String,
    /// The project's name: its file without an extension.
    pub(crate) name: String,
    /// The compiler's output without colours, if the build failed.
    pub(crate) failure: Option<String>,
}

/// What happened to a project's build.
#[derive(Clone, Debug)]
pub(crate) enum BuildEvent {
    /// It takes long. The project's name, and when the build began.
    Slow(String, Instant),
    /// It has ended, and was not cancelled.
    Ended(Built),
    /// It was cancelled. The project's name.
    Cancelled(String),
}

/// Called with each [`BuildEvent`], on the manager's thread, which it must not block.
pub(super) type OnEvent = Box<dyn Fn(BuildEvent) + Send>;

/// What the manager and its users share.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<SharedState>,
}

#[derive(Default)]
pub(super) struct SharedState {
    pub(super) known: Vec<Project>,
    /// Why the last build of a project failed, in one line.
    pub(super) failures: BTreeMap<String, String>,
    pub(super) on_event: Option<OnEvent>,
}

impl Shared {
    /// Reports what happened to a build.
    pub(super) fn report(&self, event: BuildEvent) {
        if let Some(on_event) = &self.lock().on_event {
            on_event(event);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
