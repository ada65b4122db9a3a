//! Hot reload: serves the current contents of the handlers folder.
//!
//! A change passes through these steps, each in its own file:
//!
//! 1. `watch`: the kernel reports an event on a path. That is only a hint.
//! 2. `settle`: wait until the path has stopped changing.
//! 3. `listing`: list the whole folder, names and stamps only. The listing is authoritative, so
//!    lost events, a replaced folder, or a file system without events only cause a delay.
//! 4. `slots`: determine which routes have a file that differs from the loaded one.
//! 5. `queue`: decide which of them is looked up or loaded next, and which load is preempted.
//! 6. `load`: on another thread, hash the file, and load it if the content is new. A file that
//!    changes while it is read is read again.
//! 7. `slots` and [`Published::publish`]: publish a snapshot with the new version; or keep the old
//!    version and report the problem.
//!
//! At startup ([`list`], then [`Reload::start`]), the server doesn't wait for handlers to be
//! compiled: those known to the loader are available within [`START_BUDGET`], and the rest is
//! loaded while the server serves. A route without a working version is
//! [pending](crate::registry::Pending).
//!
//! A broken file never removes a route: the last good version is served until the file is repaired
//! or removed. The reloader never writes into a watched folder, and reads cause no events, so it
//! can't wake itself. A separate thread watches the pages: see `pages`.

mod application;
mod cancel;
mod inotify;
mod language;
mod later;
mod listing;
mod load;
mod notifier;
mod open;
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

use crate::published::Published;
use crate::registry::{Registry, Version};
use pages_thread::PagesThread;
use queue::Capacity;
use slots::{Slots, Trust};
use thread::Order;

pub use application::{MARKERS, is_one as is_application, manifest, script_language};
pub use cancel::{CancelToken, OnCancel};
pub use language::Language;
pub use later::{Later, Renewal};
pub use listing::{EXTENSIONS, MAX_ENTRIES, MAX_STRAYS, SOURCE_MARKERS, applications};
pub use pages::{OnPages, PagesChange};
pub use shortage::Shortage;
pub use source::MAX_HANDLER_BYTES;

/// The interval of listings without events: network file systems, bind mounts of some virtual
/// machines, and targets of links can change without events. A listing costs a `stat` per file.
pub const SAFETY_RESCAN: Duration = Duration::from_secs(2);

/// The maximum time that startup waits for handlers that are loaded from a cache, before the server
/// listens without them. A handler of 46 KB takes 0.1 ms of a core, a Flask application of 31 MB
/// takes 18, so most sites are complete by then. Pages should be served within 50 ms of the start,
/// of which the rest of the startup takes some 8.
pub const START_BUDGET: Duration = Duration::from_millis(25);

/// The maximum time that a stopping reloader waits for the deferred work ([`Later`]) of loads whose
/// programs are served. Writing compiled code to a disk takes 5 to 100 ms, and up to a second if
/// other processes keep the disk busy; the limit is ten times that. Unfinished work is lost, and
/// repeated after the next start.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The default number of concurrent loads: one for long ones, and one for the others.
const LOADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// Turns the bytes of a file into a runnable program.
pub trait Load: Send + Sync + 'static {
    /// The type that is served. Dropped on the reloader's thread after its last request.
    type Program: Send + Sync + 'static;

    /// Compiles and checks the content of a handler's file. Called on worker threads, concurrently.
    /// Returns soon after the request is [cancelled](LoadRequest::cancel); it then returns any
    /// error, whose text is ignored, or the program if that is already complete.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a handler that can run here; the text is shown to its author.
    /// Also fails if the system lacks a resource ([`Shortage`]).
    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Self::Program>;

    /// Returns the version of a handler whose content has the version `content`: another one if its
    /// program depends on more than the content. After a change of that,
    /// [`Reload::look_again`] is called.
    fn version(&self, _name: &str, _path: &Path, content: Version) -> Version {
        content
    }

    /// Returns the program of this version if it is available without the file's bytes. Called
    /// before [`load`](Self::load), under the same conditions.
    fn recall(&self, _path: &Path, _version: Version) -> Option<Self::Program> {
        None
    }

    /// Waits until no other load of this version is in progress, in this process or in another one
    /// with the same storage, or until the load is cancelled. The return value is held while
    /// [`load`](Self::load) and its deferred work ([`Later`]) run.
    fn turn(&self, _version: Version, _cancel: &CancelToken) -> impl Sized {}
}

/// A handler's file to load.
#[derive(Clone, Copy, Debug)]
pub struct LoadRequest<'a> {
    /// The handler's name: the file's path in the handlers folder without its extension.
    pub name: &'a str,
    /// The absolute path of the file, or of the folder of an application.
    pub path: &'a Path,
    /// The complete content of the file; for a folder, the paths and hashes of all its files.
    pub bytes: &'a [u8],
    /// The version of `bytes`, see [`Load::version`].
    pub version: Version,
    /// Cancelled when the result is no longer wanted: there is a newer version of the file, or
    /// another load needs the permit.
    pub cancel: &'a CancelToken,
    /// Takes work to run after the program is served.
    pub later: &'a Later,
}

/// The result of listing the handlers folder, to serve and to continue from.
pub struct Scan<P> {
    slots: Slots<P>,
    /// The time at which the listing began.
    clock: SystemTime,
}

/// The result of loading the handlers that existed at startup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The number of files that can't be loaded or read.
    pub failed: usize,
}

/// Called when the handlers of the startup are loaded, on the reloader's thread.
pub type OnStarted = Box<dyn FnOnce(Started) + Send>;

/// Options for reloading.
pub struct Options {
    /// The number of processors to use: determines how many files are looked up concurrently.
    pub workers: NonZeroUsize,
    /// The number of concurrent loads: as many as the loader supports.
    pub loads: NonZeroUsize,
    /// The maximum time that [`Reload::start`] waits for handlers that are known to the loader.
    pub start_budget: Duration,
    /// The interval of listings without events.
    pub safety_rescan: Duration,
    /// Whether to use the kernel's events. Otherwise, only the periodic listings find changes.
    pub events: bool,
    /// Called after changes to the pages.
    pub on_pages: Option<OnPages>,
    /// Called once, when all handlers that existed at startup are loaded or have failed; not before
    /// [`Reload::announced`] was called.
    pub on_started: Option<OnStarted>,
}

/// A running reloader. Dropping it stops it: cancels loads in progress and waits for its thread,
/// and for deferred work ([`Later`]) for up to [`STOP_PATIENCE`].
#[must_use = "dropping it stops it"]
pub struct Reload {
    order: Arc<dyn Fn(Order) + Send + Sync>,
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
    /// Keeps `shared`, which holds the result of the scan, in sync with the handlers folder from
    /// now on. Loaded handlers are loaded again when their files change. Changes in the folder
    /// `pages` are only reported.
    ///
    /// Returns when everything found by the scan is loaded, or after [`Options::start_budget`].
    /// Logs nothing until [`announced`](Self::announced) is called.
    ///
    /// # Errors
    ///
    /// Fails if the thread can't be started. A missing folder, which the reloader waits for, and a
    /// lack of kernel watches, which it logs, are not errors.
    pub fn start<L: Load>(
        scan: Scan<L::Program>,
        pages: Option<&Path>,
        loader: Arc<L>,
        shared: Arc<Published<Registry<L::Program>>>,
        mut options: Options,
    ) -> anyhow::Result<Reload> {
        let budget = options.start_budget;
        let pages = pages.map(|folder| {
            let on_pages = options.on_pages.take().unwrap_or_else(|| Box::new(drop));
            PagesThread::new(folder, options.events, options.safety_rescan, on_pages)
        });
        let (reloader, order) = thread::Reloader::new(scan, loader, shared, options);
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("wasgi-reload".to_owned())
            .spawn(move || reloader.run(budget, &ready))
            .context("the thread that watches the folders can't be started")?;
        // Fails if the thread has panicked.
        let _ = is_ready.recv();
        let mut reload = Reload {
            order: Arc::new(order),
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

    /// Starts to log changes and problems, beginning with those since [`start`](Self::start)
    /// returned. Call this after announcing what is served.
    pub fn announced(&self) {
        (self.order)(Order::Tell);
    }

    /// Returns a function that looks up all handlers again, as if their files had changed.
    pub fn look_again(&self) -> impl Fn() + Send + Sync + use<> {
        let order = self.order.clone();
        move || order(Order::LookAgain)
    }

    /// Makes stopping not wait for deferred work ([`Later`]).
    pub fn hurry(&self) {
        (self.order)(Order::Hurry);
    }
}

impl<P> Scan<P> {
    /// Returns a snapshot of what was found.
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
            // Fails if the thread has panicked: then it has stopped as well.
            let _ = thread.join();
        }
    }
}

/// Lists the handlers folder without loading: only names and stamps, some 2.5 ms for a thousand
/// handlers. [`Reload::start`] continues from there.
pub fn list<P>(folder: &Path) -> Scan<P> {
    let clock = SystemTime::now();
    let mut slots = Slots::new(folder, Capacity::new(workers().get(), LOADS.get()));
    slots.look(Trust::AtOnce, Instant::now(), &mut |_| {});
    Scan { slots, clock }
}

/// Lists the handlers folder once and loads its files, several at a time: for `wasgi routes`.
/// Blocks until all are loaded. Logs nothing, because problems are in [`Registry::problems`].
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
                    // Fails only if the receiver has panicked.
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

/// Returns the number of usable cores.
fn workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
