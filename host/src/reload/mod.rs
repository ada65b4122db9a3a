//! Hot reload: what is in the handlers folder is what is served.
//!
//! A change goes through these steps, each in its own file:
//!
//! 1. `watch`: the kernel says that something happened to a path. That is a hint and no more.
//! 2. `settle`: wait until the path has come to rest.
//! 3. `listing`: look at the whole folder, names and stamps only. This is the truth, so an event
//!    that was lost, a folder that was replaced, and a file system that tells nothing come out
//!    right, only later.
//! 4. `slots`: which routes have a file that is not the one they were loaded from?
//! 5. `queue`: which of them is looked up or loaded next, and which load gives way.
//! 6. `load`: on another thread, hash the file, and have it loaded if the content is new. Files
//!    that change while they are read are read again.
//! 7. `slots` and [`Shared::publish`](crate::registry::Shared::publish): a new snapshot with the
//!    new version in it; or the old version stays, and the problem is reported.
//!
//! At the start ([`list`], then [`Reload::start`]) nobody waits for a handler to be compiled: what
//! the loader knows already is there within [`START_BUDGET`], and the rest is loaded while the
//! server serves. A route without a version that can answer is
//! [pending](crate::registry::Pending).
//!
//! A broken file never takes a route away: the last good version serves on until the file is mended
//! or removed. Nothing is ever written into a watched folder, and reading is no event, so the
//! reloader can't wake itself. The pages are watched by a thread of their own: see `pages`.

mod application;
mod cancel;
mod later;
mod listing;
mod load;
mod pages;
mod pages_thread;
mod queue;
mod settle;
mod shortage;
mod slot;
mod slots;
mod source;
#[cfg(test)]
mod tests;
mod thread;
mod watch;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;

use crate::registry::{Registry, Shared, Version};
use pages_thread::PagesThread;
use queue::Capacity;
use slots::{Slots, Trust};
use thread::Order;

pub use application::manifest;
pub use cancel::{CancelToken, OnCancel};
pub use later::{Later, Renewal};
pub use listing::{MAX_ENTRIES, MAX_STRAYS, SOURCE_MARKERS};
pub use pages::{OnPages, PagesChange};
pub use shortage::Shortage;
pub use source::MAX_HANDLER_BYTES;

/// How often the folders are looked at although nothing was announced: network file systems, bind
/// mounts of some virtual machines, and targets of links change without a word. A look costs a
/// `stat` for each file.
pub const SAFETY_RESCAN: Duration = Duration::from_secs(2);

/// How long a start waits for handlers that are loaded from a cache, before the server listens
/// without them. A handler of 46 KB takes 0.1 ms of a core, a Flask application of 31 MB takes
/// 18, so most sites are whole by then; and pages are to answer within 50 ms of the start, of which
/// the rest of a start takes some 8.
pub const START_BUDGET: Duration = Duration::from_millis(25);

/// How long a reloader that stops waits for loads that have been served and do what was left for
/// [`Later`]. Writing compiled code to a disk takes 5 to 100 ms, and up to a second where others
/// keep the disk busy; ten times that. What is not done by then is lost, and done again after the
/// next start.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// Loads at once where nobody says how many: one for long ones, and one that is left to others.
const LOADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Turns a file's bytes into a program that can be run.
pub trait Load: Send + Sync + 'static {
    /// What is served. Dropped on the reloader's thread, when its last request is over.
    type Program: Send + Sync + 'static;

    /// Compiles and checks the content of a handler's file. Called on worker threads, on several at
    /// once. Returns soon after the request is [cancelled](LoadRequest::cancel); what it returns
    /// then is an error of any text, which nobody sees, or the program if that was done already.
    ///
    /// # Errors
    ///
    /// The bytes are no handler that can run here; the text is shown to whoever wrote them. Or the
    /// system has too little of something ([`Shortage`]).
    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Self::Program>;

    /// The program of this version, if it can be had without the file's bytes. Called before
    /// [`load`](Self::load), in the same way.
    fn recall(&self, _path: &Path, _version: Version) -> Option<Self::Program> {
        None
    }

    /// Waits until nobody else loads this version, in this process or in another one that keeps
    /// what it loads in the same place, or until the load is cancelled. What is returned is held
    /// while [`load`](Self::load) runs, and what it left for [`Later`].
    fn turn(&self, _version: Version, _cancel: &CancelToken) -> impl Sized {}
}

/// A handler's file that is to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadRequest<'a> {
    /// The handler's name: the file's path in the handlers folder without its extension.
    pub name: &'a str,
    /// The file's path, absolute; of an application that is a folder, the folder's.
    pub path: &'a Path,
    /// All of the file's content; of a folder, the paths and hashes of all its files.
    pub bytes: &'a [u8],
    /// The version that `bytes` are.
    pub version: Version,
    /// Is cancelled when the result is not wanted any more: a newer version of the file has come,
    /// or another load needs the permit.
    pub cancel: &'a CancelToken,
    /// Takes what is to be done when the program is served.
    pub later: &'a Later,
}

/// What a look at the handlers folder has found, to serve it and to go on from.
pub struct Scan<P> {
    slots: Slots<P>,
    /// When it was begun.
    clock: SystemTime,
}

/// What has become of the handlers that were there at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Files that can't be loaded or read.
    pub failed: usize,
}

/// Who is told that the handlers of the start are loaded, on the thread of the reloader.
pub type OnStarted = Box<dyn FnOnce(Started) + Send>;

/// How to watch.
pub struct Options {
    /// The processors to use: how many files are looked up at once follows from it.
    pub workers: NonZeroUsize,
    /// Files that are loaded at once: as many as the loader loads at a time.
    pub loads: NonZeroUsize,
    /// How long [`Reload::start`] waits for handlers that the loader knows.
    pub start_budget: Duration,
    /// How often to look although nothing was announced.
    pub safety_rescan: Duration,
    /// Whether to have the kernel announce changes. Without, only the safety rescan finds them.
    pub events: bool,
    /// Is told of changes to the pages, after
    /// [`Shared::pages_generation`](crate::registry::Shared::pages_generation) has moved on.
    pub on_pages: Option<OnPages>,
    /// Is told, once, when all handlers that were there at the start are loaded or have failed to;
    /// not before [`Reload::announced`] was called.
    pub on_started: Option<OnStarted>,
}

/// A running reloader. Dropping it stops it: its thread is waited for, loads that are under way are
/// cancelled, and what was left for [`Later`] is waited for, for up to [`STOP_PATIENCE`].
#[must_use = "dropping it stops it"]
pub struct Reload {
    order: Box<dyn Fn(Order) + Send + Sync>,
    stop_pages: Option<Box<dyn Fn() + Send + Sync>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: workers(),
            loads: LOADS,
            start_budget: START_BUDGET,
            safety_rescan: SAFETY_RESCAN,
            events: true,
            on_pages: None,
            on_started: None,
        }
    }
}

impl Reload {
    /// Keeps `shared`, which holds what the scan has found, up to date with the handlers folder
    /// from now on; what is loaded already is loaded again when its file changes. Changes in the
    /// folder `pages` are told, nothing else.
    ///
    /// Returns when all that the scan has found is loaded, or after [`Options::start_budget`].
    /// Until [`announced`](Self::announced) is called, nothing is logged.
    ///
    /// # Errors
    ///
    /// The thread can't be started. A folder that is missing, and a kernel that has no watches
    /// left, are no errors: the one is waited for, the other is logged.
    pub fn start<L: Load>(
        scan: Scan<L::Program>,
        pages: Option<&Path>,
        loader: Arc<L>,
        shared: Arc<Shared<L::Program>>,
        mut options: Options,
    ) -> anyhow::Result<Reload> {
        let budget = options.start_budget;
        let pages = pages.map(|folder| {
            let generation = Arc::clone(&shared);
            let on_pages = options.on_pages.take();
            let on_pages = Box::new(move |change| {
                generation.pages_changed();
                if let Some(on_pages) = &on_pages {
                    on_pages(change);
                }
            });
            PagesThread::new(folder, options.events, options.safety_rescan, on_pages)
        });
        let (reloader, order) = thread::Reloader::new(scan, loader, shared, options);
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("wasgi-reload".to_owned())
            .spawn(move || reloader.run(budget, &ready))
            .context("the thread that watches the folders can't be started")?;
        // Fails when the thread has panicked.
        let _ = is_ready.recv();
        let mut reload = Reload {
            order: Box::new(order),
            stop_pages: None,
            threads: vec![thread],
        };
        if let Some((pages, stop)) = pages {
            let thread = std::thread::Builder::new()
                .name("wasgi-pages".to_owned())
                .spawn(move || pages.run())
                .context("the thread that watches the pages can't be started")?;
            reload.threads.push(thread);
            reload.stop_pages = Some(Box::new(stop));
        }
        Ok(reload)
    }

    /// What is served was announced: from now on, changes and problems are logged, beginning with
    /// those that have come up since [`start`](Self::start) returned.
    pub fn announced(&self) {
        (self.order)(Order::Tell);
    }

    /// Has a stop not wait for what was left for [`Later`].
    pub fn hurry(&self) {
        (self.order)(Order::Hurry);
    }
}

impl<P> Scan<P> {
    /// A snapshot of what was found.
    pub fn registry(&self) -> Registry<P> {
        self.slots.registry()
    }
}

impl<P> fmt::Debug for Scan<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("folder", &self.slots.path())
            .finish_non_exhaustive()
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        (self.order)(Order::Stop);
        if let Some(stop) = &self.stop_pages {
            stop();
        }
        for thread in self.threads.drain(..) {
            // Fails if the thread has panicked: it is gone then, which is what is wanted.
            let _ = thread.join();
        }
    }
}

/// Looks at the handlers folder and loads nothing: names and stamps alone, some 2.5 ms for a
/// thousand handlers. [`Reload::start`] goes on from there.
pub fn list<P>(folder: &Path) -> Scan<P> {
    let clock = SystemTime::now();
    let mut slots = Slots::new(folder, Capacity::new(workers().get(), LOADS.get()));
    slots.look(Trust::AtOnce, Instant::now(), &mut |_| {});
    Scan { slots, clock }
}

/// Looks at the handlers folder once and loads what is there, several files at a time: for `wasgi
/// routes`. Blocks until all are loaded; logs nothing, since what is wrong is in
/// [`Registry::problems`].
pub fn scan_once<L: Load>(folder: &Path, loader: &L) -> Scan<L::Program> {
    let mut scan = list(folder);
    let jobs = scan.slots.queue.take_all();
    let workers = workers().get().min(jobs.len());
    let jobs = Mutex::new(jobs.into_iter());
    let next = || {
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.next()
    };
    let (done, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let done = done.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some(job) = next() {
                    // Fails only when the receiver has panicked.
                    job.run_to_end(loader, |job_done| drop(done.send(job_done)));
                }
            });
        }
        drop(done);
        for done in finished {
            scan.slots.finish(done, Instant::now());
        }
    });
    scan.slots.changes.clear();
    scan
}

/// As many as there are cores to use.
fn workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
