//! The options of a reloader, and its report on the startup.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::load::LoadTimes;
use super::pages::OnPages;
use crate::registry::{Handler, Version};
use crate::router::Route;

/// The interval of listings without events: network file systems, bind mounts of some virtual
/// machines, and targets of links can change without events. A listing costs a `stat` per file.
pub(crate) const SAFETY_RESCAN: Duration = Duration::from_secs(2);

/// The maximum time that startup waits for handlers that are loaded from a cache, before the server
/// listens without them. A handler of 46 KB takes 0.1 ms of a core, a Flask application of 31 MB
/// takes 18, so most sites are complete by then. Pages should be served within 50 ms of the start,
/// of which the rest of the startup takes some 8.
pub(crate) const START_BUDGET: Duration = Duration::from_millis(25);

/// The maximum time that a stopping reloader waits for the deferred work ([`Later`](super::Later))
/// of loads whose programs are served. Writing compiled code to a disk takes 5 to 100 ms, and up to
/// a second if other processes keep the disk busy; the limit is ten times that. Unfinished work is
/// lost, and repeated after the next start.
pub(crate) const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The default number of concurrent loads: one for long ones, and one for the others.
pub(super) const LOADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// The result of loading the handlers that existed at startup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// The number of files that can't be loaded or read.
    pub failed: usize,
}

/// Called when the handlers of the startup are loaded, on the reloader's thread.
pub(crate) type OnStarted = Box<dyn FnOnce(Started) + Send>;

/// What happened to the file of a handler.
#[derive(Clone, Debug)]
pub(crate) enum HandlerEvent {
    /// It is being loaded.
    Began {
        /// The handler's name.
        name: String,
        /// Its file in the folder of handlers.
        file: String,
    },
    /// Its load has ended, in whatever way. What became of it follows, if it is news.
    Ended {
        /// Its file in the folder of handlers.
        file: String,
    },
    /// Its version is served from now on.
    Loaded {
        /// The handler's name.
        name: Arc<str>,
        /// Its file in the folder of handlers.
        file: String,
        /// The route that it serves.
        route: Route,
        /// The version.
        version: Version,
        /// The time of each step of its load. `None` if it was served before.
        times: Option<LoadTimes>,
    },
    /// It could not be loaded. An earlier version may still be served.
    Failed {
        /// The handler's name.
        name: String,
        /// Its file in the folder of handlers.
        file: String,
        /// Why, with all lines.
        message: String,
    },
    /// It is not served any more: its file was removed.
    Withdrawn {
        /// Its file in the folder of handlers.
        file: String,
    },
}

impl HandlerEvent {
    /// Returns the event of a version that is served, after a load if `times` are given.
    pub(super) fn loaded<P>(handler: &Handler<P>, times: Option<LoadTimes>) -> Self {
        Self::Loaded {
            name: handler.name.clone(),
            file: handler.file.clone(),
            route: handler.route.clone(),
            version: handler.version,
            times,
        }
    }
}

/// Called with each event of a handler's file after what is served has changed accordingly, on the
/// reloader's thread, which it must not block.
pub(crate) type OnHandler = Box<dyn Fn(HandlerEvent) + Send>;

/// Options for reloading.
pub(crate) struct ReloadOptions {
    /// The number of processors to use: determines how many files are looked up concurrently.
    pub workers: NonZeroUsize,
    /// The number of concurrent loads: as many as the loader supports.
    pub loads: NonZeroUsize,
    /// The maximum time that [`ReloadThreads::follow`](super::ReloadThreads::follow) waits for
    /// handlers that are known to the loader.
    pub start_budget: Duration,
    /// The interval of listings without events.
    pub safety_rescan: Duration,
    /// Whether to use the kernel's events. Otherwise, only the periodic listings find changes.
    pub events: bool,
    /// Called after changes to the pages.
    pub on_pages: Option<OnPages>,
    /// Whether a browser shows changes of pages: they are reported sooner. A change of everything
    /// is reported when the pages are watched, because a browser that has read one before may have
    /// missed a change.
    pub pages_are_urgent: bool,
    /// Called with the events of handlers' files.
    pub on_handler: Option<OnHandler>,
    /// Called once, when all handlers that existed at startup are loaded or have failed; not before
    /// [`Reload::announced`](super::Reload::announced) was called.
    pub on_started: Option<OnStarted>,
}

impl Default for ReloadOptions {
    fn default() -> Self {
        ReloadOptions {
            workers: workers(),
            loads: LOADS,
            start_budget: START_BUDGET,
            safety_rescan: SAFETY_RESCAN,
            events: true,
            on_pages: None,
            pages_are_urgent: false,
            on_handler: None,
            on_started: None,
        }
    }
}

/// Returns the number of usable cores.
pub(super) fn workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
