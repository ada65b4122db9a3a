//! What the thread that builds projects and its users share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::last_line::LastLine;
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

/// A step of a project's build.
#[derive(Clone, Debug)]
pub(crate) enum BuildStep {
    /// It waits for others to end.
    Waits {
        /// The project's path in the handlers folder.
        file: String,
    },
    /// Its command runs.
    Began {
        /// The project's path in the handlers folder.
        file: String,
        /// What the command has written last.
        progress: LastLine,
    },
    /// It has ended.
    Ended {
        /// The project's path in the handlers folder.
        file: String,
        /// How long it took. `None` if it was cancelled.
        took: Option<Duration>,
    },
}

/// Called with each [`BuildStep`], on the manager's thread, which it must not block.
pub(super) type OnStep = Box<dyn Fn(BuildStep) + Send>;

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
    pub(super) on_step: Option<OnStep>,
}

impl Shared {
    /// Reports a step of a build, if somebody wants to know it.
    pub(super) fn tell(&self, step: impl FnOnce() -> BuildStep) {
        if let Some(on_step) = &self.lock().on_step {
            on_step(step());
        }
    }

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
