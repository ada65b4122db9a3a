//! The virtual hosts of a serving process: each with its pages and its routes, and followed by the
//! threads that the site itself has.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::bail;

use super::controls::on_pages;
use super::projects;
use super::site::{missing, route_table, warn_of_unknown_handlers};
use crate::config::Config;
use crate::engine::Engine;
use crate::metrics::HandlerCounts;
use crate::policy::Policies;
use crate::published::Published;
use crate::registry::{Problem, RouteTable};
use crate::reload::projects::BuildSharing;
use crate::reload::{self, OnStarted, Reload, ReloadOptions, ReloadThreads, Started};
use crate::server::{HostParts, HostSettings, HostTable};
use crate::static_files::Pages;

/// The virtual hosts that are followed.
#[derive(Debug)]
pub(super) struct RunningHosts {
    engine: Engine,
    threads: ReloadThreads<Engine>,
    /// The number of concurrent loads of each host.
    loads: NonZeroUsize,
    /// What builds of projects share.
    builds: BuildSharing,
    running: Mutex<BTreeMap<String, RunningHost>>,
    /// The routes at the start were printed: a host that is added later is logged.
    is_announced: AtomicBool,
}

/// One virtual host that is followed.
struct RunningHost {
    root: PathBuf,
    handlers: PathBuf,
    parts: HostParts,
    engine: Engine,
    policies: Policies,
    /// Follows the changes of both folders.
    reload: Reload,
}

/// The virtual hosts of another configuration. Those that are new are started, but nothing is
/// changed before [`RunningHosts::replace`].
pub(super) struct NextHosts {
    hosts: Vec<(String, Config, Policies)>,
    started: BTreeMap<String, RunningHost>,
    has_default: bool,
}

/// Counts the parts of a site whose handlers are loaded for the first time.
pub(super) struct FirstLoads {
    left: AtomicUsize,
    failed: AtomicUsize,
    /// The last one sends the failures of all.
    then: Sender<Started>,
}

impl fmt::Debug for RunningHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningHost")
            .field("root", &self.root)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

impl FirstLoads {
    /// Creates the count of `parts`. Calls `then` with the failures of all after the last one, on a
    /// thread of its own: it may wait for what waits for that of the reloaders.
    ///
    /// # Errors
    ///
    /// Fails if the system can't create a thread.
    pub(super) fn new(
        parts: usize,
        then: impl FnOnce(Started) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let (sender, all) = mpsc::channel();
        thread::Builder::new()
            .name("wasgi-started".to_owned())
            .spawn(move || {
                // Fails if the server ends before.
                if let Ok(started) = all.recv() {
                    then(started);
                }
            })?;
        Ok(Arc::new(Self {
            left: AtomicUsize::new(parts),
            failed: AtomicUsize::new(0),
            then: sender,
        }))
    }

    /// Records that one part has loaded its handlers.
    pub(super) fn done(&self, started: Started) {
        self.failed.fetch_add(started.failed, Ordering::AcqRel);
        if self.left.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let failed = self.failed.load(Ordering::Acquire);
        // Fails if a part is counted again: the thread has ended.
        let _ = self.then.send(Started { failed });
    }
}

impl RunningHosts {
    /// Creates the hosts of a process, of which none is followed yet. They share the pools of
    /// `engine`, the `threads` that follow folders, and what `builds` share.
    pub(super) fn new(
        engine: &Engine,
        threads: &ReloadThreads<Engine>,
        loads: NonZeroUsize,
        builds: &BuildSharing,
    ) -> Self {
        Self {
            engine: engine.clone(),
            threads: threads.clone(),
            loads,
            builds: builds.clone(),
            running: Mutex::default(),
            is_announced: AtomicBool::new(false),
        }
    }

    /// Starts the hosts of a configuration that are not followed yet. They count in `first`, if it
    /// is given.
    ///
    /// # Errors
    ///
    /// Fails if a host has none of its folders, or if a secret or a granted folder is not
    /// available.
    pub(super) fn prepare(
        &self,
        config: &Config,
        first: Option<&Arc<FirstLoads>>,
    ) -> anyhow::Result<NextHosts> {
        let mut next = NextHosts {
            hosts: config.policies_of_hosts()?,
            started: BTreeMap::new(),
            has_default: config.site.default_host,
        };
        let (hosts, started) = (&next.hosts, &mut next.started);
        let new: Vec<_> = {
            let running = self.lock();
            let is_followed = |name: &str, host: &Config| {
                let known = running.get(name);
                known.is_some_and(|known| known.has_folders(host.site.root(), host.site.handlers()))
            };
            let new = hosts
                .iter()
                .filter(|(name, host, _)| !is_followed(name, host));
            new.collect()
        };
        let share = u32::try_from(new.len()).unwrap_or(u32::MAX);
        for (name, host, policies) in new {
            let options = ReloadOptions {
                loads: self.loads,
                start_budget: ReloadOptions::default().start_budget / share.max(1),
                ..ReloadOptions::default()
            };
            let one = self.start(name, host, policies, options, first.cloned())?;
            started.insert(name.clone(), one);
        }
        Ok(next)
    }

    fn start(
        &self,
        name: &str,
        host: &Config,
        policies: &Policies,
        mut options: ReloadOptions,
        first: Option<Arc<FirstLoads>>,
    ) -> anyhow::Result<RunningHost> {
        let (root, handlers) = (host.site.root(), host.site.handlers());
        check_folders(name, root, handlers)?;
        let pages = Arc::new(Pages::open(root, host.page_options())?);
        let engine = self.engine.with_policies(policies.clone());
        let projects = projects::start(host, Some(name), false, &self.builds)?;
        let scan = reload::list_of_host(handlers, host.external_handlers()?, name, projects);
        let registry = Arc::new(Published::new(scan.registry()));
        options.on_pages = Some(on_pages(pages.clone(), None));
        options.on_started =
            first.map(|first| -> OnStarted { Box::new(move |started| first.done(started)) });
        let loader = Arc::new(engine.clone());
        let threads = &self.threads;
        let reload = threads.follow(scan, Some(root), loader, registry.clone(), options);
        Ok(RunningHost {
            root: root.to_owned(),
            handlers: handlers.to_owned(),
            parts: HostParts {
                registry,
                pages,
                others: Arc::new(HandlerCounts::default()),
            },
            engine,
            policies: policies.clone(),
            reload,
        })
    }

    /// Replaces the hosts by the next ones, which `config` has. Returns the table for requests from
    /// now on, if one is needed, and the hosts that are no longer followed, which may take long to
    /// drop.
    ///
    /// # Errors
    ///
    /// Fails if an option of pages is invalid, which is an error of the configuration already.
    pub(super) fn replace(
        &self,
        next: NextHosts,
        config: &Config,
    ) -> anyhow::Result<(Option<Arc<HostTable>>, impl Sized)> {
        let mut running = self.lock();
        let is_announced = self.is_announced.load(Ordering::Acquire);
        let mut dropped = Vec::new();
        for (name, one) in next.started {
            if is_announced {
                one.tell(&name);
            }
            dropped.extend(running.insert(name, one));
        }
        let mut table = HostTable::new(next.has_default);
        let mut kept = BTreeMap::new();
        for (name, host, policies) in next.hosts {
            let Some(mut one) = running.remove(&name) else {
                continue;
            };
            one.set(&host, &policies)?;
            warn_of_unknown_handlers(&host.handlers, &one.parts.registry.current());
            let settings = HostSettings {
                names: config.names_of_host(&name),
                policies,
                compress: host.compress,
                has_certificate: config.host_has_certificate(&name),
            };
            table.add(one.parts.clone(), settings);
            kept.insert(name, one);
        }
        dropped.extend(std::mem::replace(&mut *running, kept).into_values());
        let is_needed = !table.hosts().is_empty() || !next.has_default;
        Ok((is_needed.then(|| Arc::new(table)), dropped))
    }

    /// Reports whether a handler is being loaded for the first time.
    pub(super) fn are_loading(&self) -> bool {
        let running = self.lock();
        let mut registries = running.values().map(|host| host.parts.registry.current());
        registries.any(|registry| !registry.pending().is_empty())
    }

    /// Returns the routes of all hosts, and the problems.
    pub(super) fn routes(&self) -> RouteTable {
        let mut all = RouteTable::default();
        for host in self.lock().values() {
            all.append(route_table(&host.root, &host.parts.registry.current()));
        }
        all
    }

    /// Records that the routes and the problems `told` were printed: what follows is logged.
    pub(super) fn announced(&self, told: &[Problem]) {
        self.is_announced.store(true, Ordering::Release);
        for host in self.lock().values() {
            host.reload.announced(told.to_vec());
        }
    }

    /// Makes stopping not wait for deferred work.
    pub(super) fn hurry(&self) {
        for host in self.lock().values() {
            host.reload.hurry();
        }
    }

    /// Stops to follow all folders.
    pub(super) fn stop(&self) {
        let running = std::mem::take(&mut *self.lock());
        // At once, because each may wait for its loads.
        thread::scope(|scope| {
            for host in running.into_values() {
                scope.spawn(move || drop(host));
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, RunningHost>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunningHost {
    fn has_folders(&self, root: &Path, handlers: &Path) -> bool {
        self.root == root && self.handlers == handlers
    }

    /// Puts settings into force.
    fn set(&mut self, host: &Config, policies: &Policies) -> anyhow::Result<()> {
        self.parts.pages.set_options(host.page_options())?;
        self.engine.set_policies(policies.clone());
        self.reload.serve_external(host.external_handlers()?);
        if !self.policies.grants_like(policies) {
            self.reload.look_again()();
        }
        self.policies = policies.clone();
        Ok(())
    }

    /// Logs what a host that was added serves, and logs its changes from now on.
    fn tell(&self, name: &str) {
        let registry = self.parts.registry.current();
        let count = registry.handlers().len() + registry.pending().len();
        let root = self.root.display();
        tracing::info!("hosts.{name}: serves {root} and {count} handlers");
        self.reload.announced(Vec::new());
    }
}

/// Checks that a host has at least one of its folders. Logs a missing one.
pub(super) fn check_folders(name: &str, root: &Path, handlers: &Path) -> anyhow::Result<()> {
    let (root_shown, handlers_shown) = (root.display(), handlers.display());
    match (root.is_dir(), handlers.is_dir()) {
        (true, true) => {}
        (true, false) => {
            let what = missing(handlers);
            tracing::info!(
                "{handlers_shown}: {what}; handlers of {name} are served once it exists"
            );
        }
        (false, true) => {
            let what = missing(root);
            tracing::info!("{root_shown}: {what}; pages of {name} are served once it exists");
        }
        (false, false) => bail!(
            "hosts.{name}: neither {root_shown} nor {handlers_shown} is a folder: create one of \
             them, or set hosts.{name}.folder"
        ),
    }
    Ok(())
}
