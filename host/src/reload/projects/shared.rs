//! What the thread that builds projects and its users share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::last_line::LastLine;
use super::project::Project;

/// What happens to a project's build.
#[derive(Clone, Debug)]
pub(crate) struct BuildEvent {
    /// The project's path in the handlers folder.
    pub(crate) file: String,
    /// The project's name: its file without an extension.
    pub(crate) name: String,
    pub(crate) step: BuildStep,
}

/// A step of a project's build.
#[derive(Clone, Debug)]
pub(crate) enum BuildStep {
    /// It waits for others to end.
    Waits,
    /// Its command runs. Has what the command has written last.
    Began(LastLine),
    /// Its command takes long.
    Slow,
    /// Its command has ended, and was not cancelled.
    Ended {
        /// How long it took. `None` if another process has built it.
        took: Option<Duration>,
        /// If it failed, the reason in one line, and below it the compiler's output without
        /// colours.
        failure: Option<String>,
    },
    /// It was cancelled.
    Cancelled,
}

/// Called with each [`BuildEvent`], on the manager's thread, which it must not block.
pub(super) type OnEvent = Box<dyn Fn(&BuildEvent) + Send>;

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
    pub(super) on_event: Vec<OnEvent>,
}

impl Shared {
    /// Reports a step of a project's build.
    pub(super) fn report(&self, project: &Project, step: BuildStep) {
        let event = BuildEvent {
            file: project.file.clone(),
            name: project.name().to_owned(),
            step,
        };
        self.lock().on_event.iter().for_each(|hear| hear(&event));
    }

    /// Records how the last build of a project has ended, and reports it. See
    /// [`BuildStep::Ended`].
    pub(super) fn ended(&self, project: &Project, took: Option<Duration>, failure: Option<String>) {
        let mut state = self.lock();
        let reason = failure.as_deref().and_then(|whole| whole.lines().next());
        match reason {
            None => drop(state.failures.remove(&project.file)),
            Some(reason) => {
                let file = project.file.clone();
                state.failures.insert(file, reason.to_owned());
            }
        }
        drop(state);
        self.report(project, BuildStep::Ended { took, failure });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
