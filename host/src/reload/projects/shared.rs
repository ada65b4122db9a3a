//! What the thread that builds projects and its users share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// Called with each [`Built`], on the manager's thread, which it must not block.
pub(super) type OnBuilt = Box<dyn Fn(Built) + Send>;

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
    pub(super) on_built: Option<OnBuilt>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, SharedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
