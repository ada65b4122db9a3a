//! Projects in the handlers folder: sources that a compiler turns into a handler, built when they
//! change.
//!
//! - `kind`: which folders and files are projects.
//! - `sources`: which of a project's files have changed.
//! - `build`: the command for each kind, and its result; `cargo` has what is particular to Cargo,
//!   `toolchain` the advice if a compiler is missing, `output` what reaches a terminal.
//! - `process`: runs a command with limits, and ends it whole; `last_line` is its progress.
//! - `places`: the folders of builds, outside of the site; `failed` has the reasons of failures.
//! - `manager`: the thread that decides when to build what.
//!
//! A build runs with the rights of the user, like a compiler in a shell, so only a developer's
//! server builds, or one whose operator says so (`site.build`). The result of a build, the
//! *artifact*, is a `.wasm` file that the reloader loads like one in the handlers folder.

mod build;
mod cargo;
mod failed;
mod kind;
mod last_line;
mod lead;
mod manager;
mod npm;
mod output;
mod places;
mod process;
mod project;
mod shared;
mod sources;
mod toolchain;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

pub(crate) use build::{BuildOptions, Outcome, build};
pub(crate) use kind::ProjectKind;
pub(crate) use last_line::LastLine;
pub(crate) use output::{coloured, plain};
pub(crate) use places::Places;
pub(crate) use project::Project;
pub(crate) use shared::{BuildEvent, BuildStep};
pub(crate) use toolchain::{ADD_RUST_TARGET, RUST_TARGET, install};

use manager::{Manager, Message};
use shared::Shared;

/// The default time limit of one build: a first build of a large package with its dependencies.
pub(crate) const MAX_BUILD_TIME: Duration = Duration::from_secs(1800);

/// Builds projects when they change. Dropping the last clone ends all builds in progress.
#[derive(Clone)]
pub(crate) struct Projects(Arc<Handle>);

struct Handle {
    sender: Sender<Message>,
    shared: Arc<Shared>,
    places: Places,
    thread: Option<JoinHandle<()>>,
}

impl Projects {
    /// Starts the thread that builds. It has no projects yet: see [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// Fails if the thread can't be started.
    pub(crate) fn start(options: BuildOptions) -> anyhow::Result<Self> {
        let (sender, inbox) = channel();
        let shared = Arc::<Shared>::default();
        let places = options.places.clone();
        let manager = Manager::new(inbox, sender.clone(), shared.clone(), options);
        let thread = std::thread::Builder::new()
            .name("wasgi-projects".to_owned())
            .spawn(move || manager.run())
            .context("the thread that builds projects can't be started")?;
        Ok(Self(Arc::new(Handle {
            sender,
            shared,
            places,
            thread: Some(thread),
        })))
    }

    /// Sets the projects that exist. New ones are built, and builds of those that are gone are
    /// cancelled.
    pub(crate) fn update(&self, projects: Vec<Project>) {
        let mut state = self.0.shared.lock();
        if state.known != projects {
            state.known.clone_from(&projects);
            state
                .failures
                .retain(|file, _| projects.iter().any(|project| project.file == *file));
            drop(state);
            // Fails if the thread has panicked.
            let _ = self.0.sender.send(Message::Update(projects));
        }
    }

    /// Adds a function that is called with each step of a build, on the thread that builds, which
    /// it must not block.
    pub(crate) fn on_event(&self, on_event: impl Fn(&BuildEvent) + Send + 'static) {
        self.0.shared.lock().on_event.push(Box::new(on_event));
    }

    /// Returns the projects whose last build failed, each with the reason in one line.
    pub(crate) fn failures(&self) -> BTreeMap<String, String> {
        self.0.shared.lock().failures.clone()
    }

    /// Returns where the artifacts are.
    pub(crate) fn places(&self) -> &Places {
        &self.0.places
    }
}

impl std::fmt::Debug for Projects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Projects")
            .field("places", &self.0.places)
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What it would call may wait for the thread that drops this.
        let on_event = std::mem::take(&mut self.shared.lock().on_event);
        drop(on_event);
        let _ = self.sender.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            // Fails if the thread has panicked: then it has stopped as well.
            let _ = thread.join();
        }
    }
}
