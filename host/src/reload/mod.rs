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
//! At startup ([`list`], then [`ReloadThreads::follow`]), the server doesn't wait for handlers to
//! be compiled: those known to the loader are available within `START_BUDGET`, and the rest is
//! loaded while the server serves. A route without a working version is
//! [pending](crate::registry::Pending).
//!
//! A broken file never removes a route: the last good version is served until the file is repaired
//! or removed. The reloader never writes into a watched folder, and reads cause no events, so it
//! can't wake itself. A separate thread watches the pages: see `pages`. Each thread has the folders
//! of all sites of the process: see `group`.

mod application;
mod cancel;
mod group;
mod identity;
mod inotify;
mod language;
mod later;
mod listing;
mod load;
mod loader;
mod notifier;
mod options;
mod pages;
mod pages_thread;
pub(crate) mod projects;
mod queue;
mod scan;
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
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::published::Published;
use crate::registry::{Problem, Registry};
use group::Group;
use pages_thread::PagesFollower;
use thread::{Order, Reloader};

pub(crate) use application::{
    MARKERS, is_application_file, is_one as is_application, manifest, package_folder,
    script_language,
};
pub(crate) use cancel::CancelToken;
pub(crate) use language::Language;
pub(crate) use later::{Later, Renewal};
pub(crate) use listing::{
    EXTENSIONS, External, applications, find_projects, handler_files, scripts,
};
pub(crate) use load::LoadTimes;
pub(crate) use loader::{Load, LoadRequest};
pub(crate) use options::{HandlerEvent, OnHandler, OnStarted, ReloadOptions, Started};
pub(crate) use pages::{OnPages, PagesChange};
pub(crate) use scan::{
    Scan, list, list_built, list_nothing, list_of_host, scan_host_once, scan_once, scan_until,
};
pub(crate) use shortage::Shortage;
pub(crate) use source::MAX_HANDLER_BYTES;
pub(crate) use watch::{Watch, WatchEvent, WatchSource};

/// The threads that follow the folders of one or more sites: one for all handlers, and one for all
/// pages. They end when this and the last [`Reload`] are dropped.
pub(crate) struct ReloadThreads<L: Load> {
    /// The events of the folders of handlers.
    source: WatchSource,
    handlers: Arc<Group<Reloader<L>>>,
    pages: Arc<Group<PagesFollower>>,
}

/// A running reloader. Dropping it stops it: cancels loads in progress and waits for its loading
/// threads, and for deferred work ([`Later`]) for up to `STOP_PATIENCE`.
#[must_use = "dropping it stops it"]
pub(crate) struct Reload {
    order: Arc<dyn Fn(Order) + Send + Sync>,
    is_hurried: AtomicBool,
    /// Removes the members from their threads when it is dropped.
    memberships: Option<Box<dyn Send + Sync>>,
    /// Disconnected when all loading threads have ended.
    has_loaded: Mutex<Receiver<()>>,
}

impl<L: Load> Clone for ReloadThreads<L> {
    fn clone(&self) -> Self {
        Self {
            source: self.source.clone(),
            handlers: self.handlers.clone(),
            pages: self.pages.clone(),
        }
    }
}

impl<L: Load> fmt::Debug for ReloadThreads<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReloadThreads").finish_non_exhaustive()
    }
}

impl<L: Load> ReloadThreads<L> {
    /// Starts the threads, without any folder. The one for pages has a low priority unless
    /// `pages_are_urgent`.
    ///
    /// # Errors
    ///
    /// Fails if a thread can't be started.
    pub(crate) fn start(pages_are_urgent: bool) -> anyhow::Result<Self> {
        let nice = if pages_are_urgent {
            0
        } else {
            pages_thread::NICE
        };
        let source = WatchSource::for_few();
        Ok(Self {
            handlers: Group::start("wasgi-reload", 0, source.clone())
                .context("the thread that watches the folders can't be started")?,
            pages: Group::start("wasgi-pages", nice, WatchSource::for_many())
                .context("the thread that watches the pages can't be started")?,
            source,
        })
    }

    /// Returns the source of the events of handlers' folders, for others that watch few folders.
    pub(crate) fn watch_source(&self) -> &WatchSource {
        &self.source
    }

    /// Keeps `shared`, which holds the result of the scan, in sync with the handlers folder from
    /// now on. Loaded handlers are loaded again when their files change. Changes in the folder
    /// `pages` are only reported.
    ///
    /// Returns when everything found by the scan is loaded, or after
    /// [`ReloadOptions::start_budget`]. Logs nothing until [`Reload::announced`] is called. A
    /// missing folder, which the reloader waits for, and a lack of kernel watches, which it logs,
    /// are not errors.
    pub(crate) fn follow(
        &self,
        scan: Scan<L::Program>,
        pages: Option<&Path>,
        loader: Arc<L>,
        shared: Arc<Published<Registry<L::Program>>>,
        mut options: ReloadOptions,
    ) -> Reload {
        let (events, safety_rescan) = (options.events, options.safety_rescan);
        let (on_pages, is_urgent) = (options.on_pages.take(), options.pages_are_urgent);
        let (ready, is_ready) = mpsc::sync_channel(1);
        let mut has_loaded = None;
        let handlers = self.handlers.join(|to_self| {
            let (reloader, loaded) = Reloader::new(scan, loader, shared, options, ready, to_self);
            has_loaded = Some(loaded);
            reloader
        });
        // Fails if the thread has panicked.
        let _ = is_ready.recv();
        let pages = pages.map(|folder| {
            let on_pages = on_pages.unwrap_or_else(|| Box::new(drop));
            self.pages.join(|to_self| {
                PagesFollower::new(folder, events, safety_rescan, is_urgent, on_pages, to_self)
            })
        });
        let orders = handlers.sender();
        Reload {
            order: Arc::new(move |order| orders.send(order.into())),
            is_hurried: AtomicBool::new(false),
            memberships: Some(Box::new(Mutex::new((handlers, pages)))),
            has_loaded: Mutex::new(has_loaded.unwrap_or_else(|| mpsc::channel().1)),
        }
    }
}

impl Reload {
    /// Starts to log changes and problems, except for the problems `told`. Call this after
    /// announcing what is served.
    pub(crate) fn announced(&self, told: Vec<Problem>) {
        (self.order)(Order::Tell(told));
    }

    /// Returns a function that looks up all handlers again, as if their files had changed.
    pub(crate) fn look_again(&self) -> impl Fn() + Send + Sync + use<> {
        let order = self.order.clone();
        move || order(Order::LookAgain)
    }

    /// Serves these handlers, which are not in the folder, in place of the earlier ones.
    pub(crate) fn serve_external(&self, external: Vec<External>) {
        (self.order)(Order::External(external));
    }

    /// Makes stopping not wait for deferred work ([`Later`]).
    pub(crate) fn hurry(&self) {
        self.is_hurried.store(true, Ordering::Relaxed);
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        drop(self.memberships.take());
        let patience = match self.is_hurried.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => options::STOP_PATIENCE,
        };
        let has_loaded = self.has_loaded.get_mut();
        let has_loaded = has_loaded.unwrap_or_else(PoisonError::into_inner);
        // Fails when the last thread has ended, or on timeout.
        let _ = has_loaded.recv_timeout(patience);
    }
}
