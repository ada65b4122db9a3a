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
mod sharing;
mod sources;
mod toolchain;

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) use build::{BuildOptions, Outcome, build};
pub(crate) use kind::ProjectKind;
pub(crate) use last_line::LastLine;
pub(crate) use output::{coloured, plain};
pub(crate) use places::Places;
pub(crate) use project::Project;
pub(crate) use shared::{BuildEvent, BuildStep};
pub(crate) use sharing::BuildSharing;
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
    thread: Mutex<BuildThread>,
}

/// The thread that builds. A site without projects has none.
enum BuildThread {
    Unstarted(Box<Manager>),
    Started(JoinHandle<()>),
    /// It couldn't be started, which was logged.
    Failed,
}

impl Projects {
    /// Creates it without projects: see [`update`](Self::update).
    pub(crate) fn new(options: BuildOptions) -> Self {
        let (sender, inbox) = channel();
        let shared = Arc::<Shared>::default();
        let places = options.places.clone();
        let manager = Manager::new(inbox, sender.clone(), shared.clone(), options);
        Self(Arc::new(Handle {
            sender,
            shared,
            places,
            thread: Mutex::new(BuildThread::Unstarted(Box::new(manager))),
        }))
    }

    /// Sets the projects that exist. New ones are built, on a thread that the first one starts, and
    /// builds of those that are gone are cancelled.
    pub(crate) fn update(&self, projects: Vec<Project>) {
        let mut state = self.0.shared.lock();
        if state.known != projects {
            state.known.clone_from(&projects);
            state
                .failures
                .retain(|file, _| projects.iter().any(|project| project.file == *file));
            drop(state);
            self.0.start();
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

impl Handle {
    /// Starts the thread, unless it was started before.
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        *thread = match std::mem::replace(&mut *thread, BuildThread::Failed) {
            BuildThread::Unstarted(manager) => {
                let builder = std::thread::Builder::new().name("wasgi-projects".to_owned());
                match builder.spawn(move || manager.run()) {
                    Ok(started) => BuildThread::Started(started),
                    Err(error) => {
                        tracing::error!("projects are not built, no thread to do it: {error}");
                        BuildThread::Failed
                    }
                }
            }
            known => known,
        };
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // What it would call may wait for the thread that drops this.
        let on_event = std::mem::take(&mut self.shared.lock().on_event);
        drop(on_event);
        let _ = self.sender.send(Message::Stop);
        let thread = self.thread.get_mut();
        let thread = thread.unwrap_or_else(PoisonError::into_inner);
        if let BuildThread::Started(thread) = std::mem::replace(thread, BuildThread::Failed) {
            // Fails if the thread has panicked: then it has stopped as well.
            let _ = thread.join();
        }
    }
}
