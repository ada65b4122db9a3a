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
//! 5. `load`: on another thread, hash the file, and have it loaded if the content is new. Files
//!    that change while they are read are read again.
//! 6. `slots` and [`Shared::publish`](crate::registry::Shared::publish): a new snapshot with the
//!    new version in it; or the old version stays, and the problem is reported.
//!
//! A broken file never takes a route away: the last good version serves on until the file is mended
//! or removed. Nothing is ever written into a watched folder, and reading is no event, so the
//! reloader can't wake itself. The pages are watched by the same thread: see `pages`.

mod cancel;
mod listing;
mod load;
mod pages;
mod settle;
mod slots;
mod source;
#[cfg(test)]
mod tests;
mod thread;
mod watch;

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;

use crate::registry::{Registry, Shared, Version};
use slots::{Slots, Trust};

pub use cancel::{CancelToken, OnCancel};
pub use listing::{MAX_ENTRIES, MAX_STRAYS, SOURCE_MARKERS};
pub use pages::{OnPages, PagesChange};
pub use source::MAX_HANDLER_BYTES;

/// How often the folders are looked at although nothing was announced: network file systems, bind
/// mounts of some virtual machines, and targets of links change without a word. A look costs a
/// `stat` for each file.
pub const SAFETY_RESCAN: Duration = Duration::from_secs(2);

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
    /// The bytes are no handler that can run here; the text is shown to whoever wrote them.
    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Self::Program>;

    /// The program of this version, if it can be had without the file's bytes. Called before
    /// [`load`](Self::load), in the same way.
    fn recall(&self, _version: Version) -> Option<Self::Program> {
        None
    }
}

/// A handler's file that is to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct LoadRequest<'a> {
    /// The handler's name: the file's path in the handlers folder without its extension.
    pub name: &'a str,
    /// All of the file's content.
    pub bytes: &'a [u8],
    /// The version that `bytes` are.
    pub version: Version,
    /// Is cancelled when the result is not wanted any more: a newer version of the file has come,
    /// or another load needs the permit.
    pub cancel: &'a CancelToken,
}

/// What a look at the handlers folder has found, to serve it and to go on from.
pub struct Scan<P> {
    slots: Slots<P>,
}

/// How to watch.
pub struct Options {
    /// Files that are loaded at once.
    pub workers: NonZeroUsize,
    /// How often to look although nothing was announced.
    pub safety_rescan: Duration,
    /// Whether to have the kernel announce changes. Without, only the safety rescan finds them.
    pub events: bool,
    /// Is told of changes to the pages, after
    /// [`Shared::pages_generation`](crate::registry::Shared::pages_generation) has moved on.
    pub on_pages: Option<OnPages>,
}

/// A running reloader. Dropping it stops it: its thread is waited for, while a file that is being
/// loaded at that moment is left to finish for nobody.
#[must_use = "dropping it stops it"]
pub struct Reload {
    stop: Box<dyn Fn() + Send + Sync>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: workers(),
            safety_rescan: SAFETY_RESCAN,
            events: true,
            on_pages: None,
        }
    }
}

impl Reload {
    /// Keeps `shared`, which holds what the scan has found, up to date with the handlers folder
    /// from now on; what is loaded already is loaded again when its file changes. Changes in the
    /// folder `pages` are told, nothing else.
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
        options: Options,
    ) -> anyhow::Result<Reload> {
        let (reloader, stop) = thread::Reloader::new(scan.slots, pages, loader, shared, options);
        let thread = std::thread::Builder::new()
            .name("wasgi-reload".to_owned())
            .spawn(move || reloader.run())
            .context("the thread that watches the folders can't be started")?;
        Ok(Reload {
            stop: Box::new(stop),
            thread: Some(thread),
        })
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
        (self.stop)();
        if let Some(thread) = self.thread.take() {
            // Fails if the thread has panicked: it is gone then, which is what is wanted.
            let _ = thread.join();
        }
    }
}

/// Looks at the handlers folder once and loads what is there, several files at a time. For the
/// start, and for `wasgi routes`. Blocks until all are loaded; logs nothing, since what is wrong is
/// in [`Registry::problems`].
pub fn scan_once<L: Load>(folder: &Path, loader: &L) -> Scan<L::Program> {
    let (now, clock) = (Instant::now(), SystemTime::now());
    let mut slots = Slots::new(folder);
    slots.look(Trust::AtOnce, now, &mut |_| {});
    let jobs: VecDeque<_> = std::mem::take(&mut slots.jobs);
    let workers = workers().get().min(jobs.len());
    let jobs = Mutex::new(jobs);
    let next = || {
        jobs.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    let (done, finished) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let done = done.clone();
            let next = &next;
            scope.spawn(move || {
                while let Some(job) = next() {
                    // Fails only when the receiver has panicked.
                    let _ = done.send(job.run(loader));
                }
            });
        }
        drop(done);
        for done in finished {
            slots.finish(done, now);
        }
    });
    slots.changes.clear();
    slots.doubt_the_fresh(clock);
    Scan { slots }
}

/// As many as there are cores to use.
fn workers() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
