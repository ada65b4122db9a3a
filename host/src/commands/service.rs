//! A serving process: the server itself, and the threads that keep it up to date.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::controls::{Controls, FollowState, Following, on_pages};
use super::hosts::{FirstLoads, RunningHosts};
use super::inspector::{Inspector, Progress};
use super::projects;
use super::site::route_table;
use crate::acme::{Acme, Folder};
use crate::admin::{self, Inspect};
use crate::config::Config;
use crate::dev::Dev;
use crate::engine::{Engine, Program};
use crate::log::{AccessLog, Verbosity};
use crate::metrics;
use crate::policy::Handlers;
use crate::printable;
use crate::published::Published;
use crate::registry::{Registry, RouteTable, Row, RowState};
use crate::reload::projects::BuildSharing;
use crate::reload::{self, OnHandler, ReloadThreads, Started};
use crate::server::tls::{LoadedCertificates, Tickets};
use crate::server::{Drain, Listen, Pulse, Server, Sockets};
use crate::state::Store;
use crate::static_files::Pages;
use crate::traces::Tracer;

/// The interval of checks for the end of the requests in flight.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// How long to load handlers while connections wait at a socket. Most are cached, and take
/// milliseconds. After that, the remaining ones answer 503.
const LOAD_PATIENCE: Duration = Duration::from_secs(10);

/// The interval of checks whether all handlers are loaded.
const LOAD_POLL: Duration = Duration::from_millis(10);

/// A running server that follows changes of its folders. Dropping it stops the server at once.
pub(super) struct Service {
    server: Server,
    controls: Controls,
    progress: Arc<Progress>,
    tracer: Option<Arc<Tracer>>,
    /// The folder of certificates that the server obtains, if it does so.
    acme_folder: Option<Folder>,
    started: Instant,
    /// The routes, the problems and the address of the site: whole lines.
    announcement: String,
    routes: RouteTable,
    /// What the dashboard of `wasgi dev` shows of this process.
    inspector: Option<Arc<dyn Inspect>>,
}

/// How clients enter.
pub(super) struct Entry {
    /// The bound sockets.
    pub(super) sockets: Sockets,
    /// The keys of session tickets that other processes have, too.
    pub(super) tickets: Option<Arc<Tickets>>,
    /// The certificates, with TLS.
    pub(super) certificates: Option<LoadedCertificates>,
}

/// A service before it listens.
pub(super) struct Prepared<'s> {
    registry: &'s Published<Registry<Program>>,
    hosts: &'s RunningHosts,
    store: &'s Store,
}

impl Prepared<'_> {
    /// Waits until all handlers that exist are loaded or have failed to load, or until `is_over`.
    pub(super) fn load_all(&self, is_over: impl Fn() -> bool) {
        let is_loading =
            || !self.registry.current().pending().is_empty() || self.hosts.are_loading();
        while is_loading() && !is_over() {
            thread::sleep(LOAD_POLL);
        }
    }

    /// Waits as [`load_all`](Self::load_all), but not for long: connections wait at the sockets.
    pub(super) fn load_soon(&self) {
        let start = Instant::now();
        self.load_all(|| start.elapsed() >= LOAD_PATIENCE);
    }

    /// Opens the store, or connects to the process that has it open.
    pub(super) fn open_store(&self) {
        self.store.open();
    }
}

impl Service {
    /// Starts to serve. Calls `on_started` with an announcement, in whole lines, when all handlers
    /// that exist now are loaded, but not before [`announced`](Self::announced) is called. If `dev`
    /// is given, adds what `wasgi dev` does.
    /// Calls `before_listening` when everything but the sockets is ready; see [`Prepared`].
    pub(super) fn start(
        config: &Config,
        entry: Entry,
        access_log: &AccessLog,
        dev: Option<&Arc<Dev>>,
        on_started: impl FnOnce(String) + Send + 'static,
        before_listening: impl FnOnce(&Prepared<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let started = Instant::now();
        if config.admin.addr.is_some() {
            metrics::start_counting();
        }
        let (root, handlers) = (config.site.root(), config.site.handlers());
        let store = config.store();
        let mut engine = Engine::new(&config.budget, &config.compile, config.site.code_cache())?
            .with_runtime(config.site.runtime().as_deref())
            .with_store(store.clone())
            .with_layers();
        if dev.is_some() {
            engine = engine
                .with_lines(handlers)
                .with_quick_compiling(&config.compile);
        }
        engine.limit_memory(config.instance_memory_bytes());
        // Cached handlers are available at once; the rest is compiled while the server already
        // serves.
        let threads = ReloadThreads::start(dev.is_some())?;
        let builds = BuildSharing::new(threads.watch_source());
        let is_served = config.site.default_host || dev.is_some();
        let scan = match is_served {
            true => {
                let projects = projects::start(config, None, dev.is_some(), &builds)?;
                if let (Some(projects), Some(dev)) = (&projects, dev.cloned()) {
                    projects.on_event(move |event| dev.build_changed(event));
                }
                reload::list(handlers, config.external_handlers()?, projects)
            }
            false => reload::list_nothing(handlers),
        };
        let registry = Arc::new(Published::new(scan.registry()));
        let mut settings = config.settings()?;
        engine.set_policies(settings.policies.clone());
        let loads = config.compile.processes();
        let hosts = Arc::new(RunningHosts::new(&engine, &threads, loads, &builds));
        let progress = Arc::new(Progress::default());
        let announced = Arc::new(OnceLock::new());
        let (of_start, registry_then) = (announced.clone(), registry.clone());
        let is_quiet = config.server.log_level < Verbosity::Info;
        let progress_then = progress.clone();
        let hosts_then = hosts.clone();
        let has_hosts = dev.is_none();
        let hosts_count = match has_hosts {
            true => config.hosts.names().count(),
            false => 0,
        };
        let first = FirstLoads::new(usize::from(is_served) + hosts_count, move |started| {
            progress_then.loaded();
            let mut routes = registry_then.current().route_table();
            routes.append(hosts_then.routes());
            let mut lines = started_lines(started, of_start.get(), routes);
            if is_quiet {
                // Keep the last line, which concludes the startup.
                lines.drain(..lines.trim_end().rfind('\n').map_or(0, |at| at + 1));
            }
            on_started(printable::report(&lines).to_string());
        })
        .context("the thread that announces the start can't be started")?;
        let next_hosts = has_hosts.then(|| hosts.prepare(config, Some(&first)));
        if let Some(next) = next_hosts.transpose()? {
            (settings.hosts, _) = hosts.replace(next, config)?;
        } else if !config.hosts.is_empty() {
            tracing::warn!(
                "wasgi dev serves the folders of [site] and no virtual hosts: `wasgi dev FOLDER` \
                 serves those of one"
            );
        }
        let mut controls = Controls {
            settings: Arc::new(Published::new(settings)),
            pages: Arc::new(Pages::open(root, config.page_options())?),
            drain: Arc::new(Published::new(config.server.drain())),
            access_log: access_log.clone(),
            engine: engine.clone(),
            registry: registry.clone(),
            store,
            progress: progress.clone(),
            handlers: Arc::new(Mutex::new(Following {
                folder: handlers.to_owned(),
                state: FollowState::Unserved,
            })),
            threads: threads.clone(),
            builds,
            hosts: hosts.clone(),
            server: Arc::default(),
            has_hosts,
            acme: None,
        };
        let pages = controls.pages.clone();
        let options = reload::ReloadOptions {
            on_pages: Some(on_pages(pages, dev.cloned())),
            pages_are_urgent: dev.is_some(),
            on_handler: dev.cloned().map(on_handler),
            on_started: Some(Box::new(move |started| first.done(started))),
            loads,
            ..Default::default()
        };
        if is_served {
            let loader = Arc::new(engine.clone());
            let reload = threads.follow(scan, Some(root), loader, registry.clone(), options);
            controls.following().state = FollowState::Followed(reload);
        }
        before_listening(&Prepared {
            registry: &registry,
            hosts: &hosts,
            store: &controls.store,
        })?;
        let tracer = Tracer::start()?;
        let listen = Listen {
            sockets: entry.sockets,
            certificates: entry.certificates,
            options: &config.server,
            tls: &config.tls,
            tickets: entry.tickets,
            dev,
            tracer: tracer.as_ref(),
        };
        let server = Server::start(
            listen,
            controls.settings.clone(),
            &engine,
            registry.clone(),
            controls.pages.clone(),
            access_log.current(),
        )?;
        // Cannot fail: the cell is set only here.
        let _ = controls.server.set(server.view());
        engine.enable_overflow_pool(&config.budget);
        let has_acme = config.obtains_certificates() && dev.is_none();
        if has_acme {
            // The listeners answer its challenges from here on.
            let view = server.view();
            let serve = move |file: &Path, pem: &[u8]| view.set_obtained_certificate(file, pem);
            controls.acme = Some(Arc::new(Acme::start(config.acme_setup(), serve)?));
        }
        let mut routes = route_table(root, &registry.current());
        routes.append(hosts.routes());
        let (scheme, addr) = (server.scheme().as_str(), server.addr());
        let shown = match is_quiet {
            true => routes.problems_alone().to_string(),
            false => routes.to_string(),
        };
        let shown = printable::report(&shown);
        let announcement = format!("{shown}listening on {scheme}://{addr}/\n");
        // Cannot fail: the cell is set only here.
        let _ = announced.set(routes.clone());
        let mut service = Self {
            server,
            controls,
            progress,
            tracer,
            acme_folder: has_acme.then(|| Folder::new(config.acme.folder())),
            started,
            announcement,
            routes,
            inspector: None,
        };
        if let Some(dev) = dev {
            let inspector: Arc<dyn Inspect> = Arc::new(service.inspector());
            let weak = Arc::downgrade(&inspector);
            dev.describe_site(move || Some(admin::status(&*weak.upgrade()?, started)));
            service.inspector = Some(inspector);
        }
        Ok(service)
    }

    /// Returns the routes at the start.
    pub(super) fn routes(&self) -> &RouteTable {
        &self.routes
    }

    /// Returns the URL of the site.
    pub(super) fn url(&self) -> String {
        format!(
            "{}://{}/",
            self.server.scheme().as_str(),
            self.server.addr()
        )
    }

    /// Returns the line that says which address is redirected. Empty if no address is.
    pub(super) fn redirect_line(&self) -> String {
        let addr = self.server.redirect_addr();
        addr.map_or(String::new(), |addr| {
            format!("sending http://{addr}/ on to https\n")
        })
    }

    /// Returns the routes, the problems and the addresses: whole lines.
    pub(super) fn announcement(&self) -> String {
        format!("{}{}", self.announcement, self.redirect_line())
    }

    /// Records that the announcement was printed: what follows is logged.
    pub(super) fn announced(&self) {
        let told = &self.routes.problems;
        if let Some(reload) = self.controls.following().reload() {
            reload.announced(told.clone());
        }
        self.controls.hosts.announced(told);
    }

    /// See [`Controls::warn_of_unknown_handlers`].
    pub(super) fn warn_of_unknown_handlers(&self, handlers: &Handlers) {
        self.controls.warn_of_unknown_handlers(handlers);
    }

    /// Returns a view for the admin listener.
    pub(super) fn inspector(&self) -> Inspector {
        Inspector {
            engine: self.controls.engine.clone(),
            registry: self.controls.registry.clone(),
            settings: self.controls.settings.clone(),
            server: self.server.view(),
            started: self.started,
            progress: self.progress.clone(),
            acme: self.acme_folder.clone(),
        }
    }

    /// Returns a check of its reactors.
    pub(super) fn pulse(&self) -> Pulse {
        self.server.pulse()
    }

    /// Waits until the handlers that existed at the start are loaded, or can't be loaded.
    ///
    /// # Errors
    ///
    /// Fails if the server stops.
    pub(super) fn wait_for_start(&self) -> anyhow::Result<()> {
        self.controls.wait_for_start()
    }

    /// Returns the controls that apply a new configuration.
    pub(super) fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Returns how to stop.
    pub(super) fn how_to_drain(&self) -> Drain {
        *self.controls.drain.current()
    }

    /// Lets another process open the store's database: the requests in flight use it there.
    pub(super) fn release_store(&self) {
        self.controls.store.release();
    }

    /// Stops in order: says that it is not ready, accepts connections for the delay, accepts no
    /// more, and waits until the requests in flight end, the grace period is over, or
    /// `ends_at_once` returns true.
    pub(super) fn drain(&self, how: Drain, mut ends_at_once: impl FnMut() -> bool) {
        self.progress.drains();
        let start = Instant::now();
        let [closing, streams, end] = [
            how.delay,
            how.delay + how.stream_grace.min(how.grace),
            how.delay + how.grace,
        ];
        let (mut is_closed, mut has_ended_streams) = (false, false);
        while !self.server.is_done() {
            if ends_at_once() {
                if let Some(reload) = self.controls.following().reload() {
                    reload.hurry();
                }
                self.controls.hosts.hurry();
                return;
            }
            let elapsed = start.elapsed();
            if elapsed >= closing && !std::mem::replace(&mut is_closed, true) {
                self.server.drain(how.last_request_time);
            }
            if elapsed >= end {
                tracing::warn!("stopping: the time limit for requests in flight has expired");
                return;
            }
            if elapsed >= streams && !std::mem::replace(&mut has_ended_streams, true) {
                self.server.end_streams();
            }
            thread::sleep(DRAIN_POLL);
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A server that is being stopped loads nothing more.
        let following = self.controls.following().stop();
        drop(following);
        self.controls.hosts.stop();
        // Otherwise the next start would check the database as after a crash.
        self.controls.store.close();
        if let Some(tracer) = &self.tracer {
            tracer.finish();
        }
    }
}

/// Returns the function that is called after changes of handlers.
fn on_handler(dev: Arc<Dev>) -> OnHandler {
    Box::new(move |event| dev.handler_changed(&event))
}

/// Returns the announcement for when the initial handlers are loaded: those routes that were
/// `announced` as loading and are now served, and a line that concludes the startup.
fn started_lines(started: Started, announced: Option<&RouteTable>, now: RouteTable) -> String {
    let announced = announced.map_or(&[][..], |routes| &routes.rows);
    let loading = announced
        .iter()
        .filter(|row| row.state == RowState::Loading);
    let loading: HashSet<&String> = loading.map(|row| &row.file).collect();
    let is_news = |row: &Row| row.state == RowState::Served && loading.contains(&row.file);
    let news = RouteTable {
        rows: now.rows.into_iter().filter(is_news).collect(),
        problems: Vec::new(),
    };
    let failed = match started.failed {
        0 => String::new(),
        failed => format!(", except {failed} that can't be loaded"),
    };
    format!("{news}all handlers are loaded{failed}\n")
}
