//! The first listing of the handlers folder, before anything watches it.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Instant, SystemTime};

use super::listing::External;
use super::loader::Load;
use super::options::{LOADS, workers};
use super::queue::Capacity;
use super::slots::{Slots, Trust};
use crate::registry::Registry;
use crate::reload::projects::{Places, Projects};

/// The result of listing the handlers folder, to serve and to continue from.
pub(crate) struct Scan<P> {
    pub(super) slots: Slots<P>,
    /// The time at which the listing began.
    pub(super) clock: SystemTime,
}

impl<P> Scan<P> {
    /// Returns a snapshot of what was found.
    pub(crate) fn registry(&self) -> Registry<P> {
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

/// Lists the handlers folder without loading: only names and stamps, some 2.5 ms for a thousand
/// handlers. [`ReloadThreads::follow`](super::ReloadThreads::follow) continues from there.
/// The `projects`, if given, are built from now on. The `external` handlers are served as well.
pub(crate) fn list<P>(
    folder: &Path,
    external: Vec<External>,
    projects: Option<Projects>,
) -> Scan<P> {
    list_after(folder, external, |slots| {
        if let Some(projects) = projects {
            slots.build_with(projects);
        }
    })
}

/// Lists the handlers folder of a virtual host as [`list`] does.
pub(crate) fn list_of_host<P>(
    folder: &Path,
    external: Vec<External>,
    host: &str,
    projects: Option<Projects>,
) -> Scan<P> {
    list_after(folder, external, |slots| {
        slots.belong_to(host);
        if let Some(projects) = projects {
            slots.build_with(projects);
        }
    })
}

/// Returns the result of listing a folder without handlers, whatever is in `folder`.
pub(crate) fn list_nothing<P>(folder: &Path) -> Scan<P> {
    Scan {
        clock: SystemTime::now(),
        slots: Slots::new(folder, Capacity::new(workers().get(), LOADS.get())),
    }
}

/// Lists the handlers folder as [`list`] does, with the results of earlier builds of its projects.
/// The folder may be that of a virtual host.
pub(crate) fn list_built<P>(folder: &Path, host: Option<&str>, builds: Option<Places>) -> Scan<P> {
    list_after(folder, Vec::new(), |slots| {
        if let Some(host) = host {
            slots.belong_to(host);
        }
        if let Some(builds) = builds {
            slots.serve_built(builds);
        }
    })
}

/// Lists the handlers folder after `prepare` was called.
fn list_after<P>(
    folder: &Path,
    external: Vec<External>,
    prepare: impl FnOnce(&mut Slots<P>),
) -> Scan<P> {
    let clock = SystemTime::now();
    let mut slots = Slots::new(folder, Capacity::new(workers().get(), LOADS.get()));
    prepare(&mut slots);
    let now = Instant::now();
    slots.set_external(external, now);
    slots.look(Trust::AtOnce, now, &mut |_| {});
    Scan { slots, clock }
}

/// Lists the handlers folder once and loads its files, several at a time: for `wasgi routes`.
/// Blocks until all are loaded. Logs nothing, because problems are in [`Registry::problems`].
pub(crate) fn scan_once<L: Load>(
    folder: &Path,
    external: Vec<External>,
    loader: &L,
) -> Scan<L::Program> {
    load_all(list(folder, external, None), loader, &|| false)
}

/// Lists the handlers folder of a virtual host and loads its files as [`scan_once`] does.
pub(crate) fn scan_host_once<L: Load>(
    folder: &Path,
    external: Vec<External>,
    host: &str,
    loader: &L,
) -> Scan<L::Program> {
    load_all(list_of_host(folder, external, host, None), loader, &|| {
        false
    })
}

/// Lists the handlers folder once and loads its files as [`scan_once`] does, but begins no further
/// load once `is_over` returns true.
pub(crate) fn scan_until<L: Load>(
    folder: &Path,
    loader: &L,
    is_over: &(dyn Fn() -> bool + Sync),
) -> Scan<L::Program> {
    load_all(list(folder, Vec::new(), None), loader, is_over)
}

/// Loads the files that were listed, several at a time.
fn load_all<L: Load>(
    mut scan: Scan<L::Program>,
    loader: &L,
    is_over: &(dyn Fn() -> bool + Sync),
) -> Scan<L::Program> {
    let jobs = scan.slots.queue.take_all();
    let workers = workers().get().min(jobs.len());
    let jobs = Mutex::new(jobs.into_iter());
    let next = || {
        if is_over() {
            return None;
        }
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
