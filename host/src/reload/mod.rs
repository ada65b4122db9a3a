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
//! compiled: those known to the loader are available within `START_BUDGET`, and the rest is
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

use std::path::Path;
use std::sync::{Arc, mpsc};

use anyhow::Context;

use crate::published::Published;
use crate::registry::{Problem, Registry};
use pages_thread::PagesThread;
use thread::Order;

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
pub(crate) use watch::{Watch, WatchEvent};

/// A running reloader. Dropping it stops it: cancels loads in progress and waits for its thread,
/// and for deferred work ([`Later`]) for up to `STOP_PATIENCE`.
#[must_use = "dropping it stops it"]
pub(crate) struct Reload {
    order: Arc<dyn Fn(Order) + Send + Sync>,
    stop_pages: Option<Box<dyn Fn() + Send + Sync>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Reload {
    /// Keeps `shared`, which holds the result of the scan, in sync with the handlers folder from
    /// now on. Loaded handlers are loaded again when their files change. Changes in the folder
    /// `pages` are only reported.
    ///
    /// Returns when everything found by the scan is loaded, or after
    /// [`ReloadOptions::start_budget`]. Logs nothing until [`announced`](Self::announced) is
    /// called.
    ///
    /// # Errors
    ///
    /// Fails if the thread can't be started. A missing folder, which the reloader waits for, and a
    /// lack of kernel watches, which it logs, are not errors.
    pub(crate) fn start<L: Load>(
        scan: Scan<L::Program>,
        pages: Option<&Path>,
        loader: Arc<L>,
        shared: Arc<Published<Registry<L::Program>>>,
        mut options: ReloadOptions,
    ) -> anyhow::Result<Reload> {
        let budget = options.start_budget;
        let pages = pages.map(|folder| {
            let on_pages = options.on_pages.take().unwrap_or_else(|| Box::new(drop));
            let (mut thread, stop) =
                PagesThread::new(folder, options.events, options.safety_rescan, on_pages);
            thread.is_urgent = options.pages_are_urgent;
            (thread, stop)
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
        (self.order)(Order::Hurry);
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
