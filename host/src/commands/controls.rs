//! Applies a new configuration to a running service.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure};

use super::hosts::RunningHosts;
use super::inspector::Progress;
use super::projects;
use super::site::warn_of_unknown_handlers;
use crate::acme::Acme;
use crate::config::Config;
use crate::dev::Dev;
use crate::engine::{Engine, Program};
use crate::log::{self, AccessLog};
use crate::policy::Handlers;
use crate::published::Published;
use crate::registry::Registry;
use crate::reload::projects::BuildSharing;
use crate::reload::{self, OnPages, PagesChange, Reload, ReloadOptions, ReloadThreads};
use crate::server::{Drain, ServerView, Settings};
use crate::state::Store;
use crate::static_files::Pages;

/// The interval of checks for the end of the start, before another version of a bundle is loaded.
const START_POLL: Duration = Duration::from_millis(10);

/// Why another version of a bundle is not loaded.
const STOPPING: &str = "not loaded: the server is stopping";

/// Applies a new configuration to a running service.
#[derive(Clone, Debug)]
pub(super) struct Controls {
    pub(super) settings: Arc<Published<Settings>>,
    pub(super) pages: Arc<Pages>,
    pub(super) drain: Arc<Published<Drain>>,
    pub(super) access_log: AccessLog,
    pub(super) engine: Engine,
    pub(super) registry: Arc<Published<Registry<Program>>>,
    pub(super) store: Store,
    pub(super) progress: Arc<Progress>,
    pub(super) handlers: Arc<Mutex<Following>>,
    /// The threads that follow folders.
    pub(super) threads: ReloadThreads<Engine>,
    /// What builds of projects share.
    pub(super) builds: BuildSharing,
    pub(super) hosts: Arc<RunningHosts>,
    /// The server, once it has been started.
    pub(super) server: Arc<OnceLock<ServerView>>,
    /// Whether virtual hosts are served.
    pub(super) has_hosts: bool,
    /// What obtains certificates, if the server does so.
    pub(super) acme: Option<Arc<Acme>>,
}

/// The folder of the site's own handlers.
pub(super) struct Following {
    pub(super) folder: PathBuf,
    pub(super) state: FollowState,
}

/// Whether the site itself is served, and its changes are followed.
pub(super) enum FollowState {
    /// All requests are for virtual hosts: `site.default-host = false`.
    Unserved,
    Followed(Reload),
    /// Served, after another version of a bundle was put into force: its folder doesn't change.
    Fixed,
}

impl Following {
    /// Returns what follows the folder's changes.
    pub(super) fn reload(&self) -> Option<&Reload> {
        match &self.state {
            FollowState::Followed(reload) => Some(reload),
            FollowState::Unserved | FollowState::Fixed => None,
        }
    }

    /// Returns what has followed the folder's changes. Dropping it may take long.
    pub(super) fn stop(&mut self) -> FollowState {
        std::mem::replace(&mut self.state, FollowState::Unserved)
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Controls {
    /// Logs a warning for each handler that has settings but does not exist.
    pub(super) fn warn_of_unknown_handlers(&self, handlers: &Handlers) {
        warn_of_unknown_handlers(handlers, &self.registry.current());
    }

    pub(super) fn following(&self) -> MutexGuard<'_, Following> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a configuration into force. If it has other folders, of another version of a bundle,
    /// loads everything first and then replaces the site as a whole.
    ///
    /// # Errors
    ///
    /// Fails if a secret or a granted folder is not available, or if a handler of the other version
    /// can't be loaded. Then nothing has changed.
    pub(super) fn apply(&self, config: &Config) -> anyhow::Result<()> {
        let mut settings = config.settings()?;
        let next_hosts = self.has_hosts.then(|| self.hosts.prepare(config, None));
        let next_hosts = next_hosts.transpose()?;
        if let Some(server) = self.server.get()
            && self.has_hosts
        {
            self.set_certificates(server, config)?;
        }
        self.access_log
            .set_target(&config.server.access_log, &config.log)?;
        let has_same_grants = (settings.policies).grants_like(&self.settings.current().policies);
        let (is_same, is_fixed) = {
            let following = self.following();
            let is_same = following.folder == config.site.handlers();
            (is_same, matches!(following.state, FollowState::Fixed))
        };
        // A host that is no longer served is dropped at the end, because its threads may take long.
        let mut _dropped = None;
        if let Some(next) = next_hosts {
            let (table, dropped) = self.hosts.replace(next, config)?;
            settings.hosts = table;
            _dropped = Some(dropped);
        }
        if is_same && (!is_fixed || has_same_grants) {
            self.engine.set_policies(settings.policies.clone());
            if let Some(reload) = self.following().reload() {
                reload.serve_external(config.external_handlers()?);
                if !has_same_grants {
                    reload.look_again()();
                }
            }
            self.pages.set_options(config.page_options())?;
            // `wasgi dev` serves the site itself, and no virtual hosts.
            let is_served = config.site.default_host || !self.has_hosts;
            if is_served {
                self.follow_site(config)?;
            }
            self.settings.publish(settings);
            if !is_served {
                self.leave_site(config);
            }
        } else {
            self.replace_site(config, settings)?;
        }
        self.drain.publish(config.server.drain());
        log::set_limits(&config.log);
        self.access_log.set_limits(&config.log);
        log::set_format(config.server.log_format);
        self.access_log.set_format(config.server.log_format);
        self.engine.limit_memory(config.instance_memory_bytes());
        self.store.set_limits(config.buckets);
        Ok(())
    }

    /// Serves the certificates of virtual hosts, and obtains those that are missing.
    fn set_certificates(&self, server: &ServerView, config: &Config) -> anyhow::Result<()> {
        let obtained = config.obtained_certificates();
        ensure!(
            self.acme.is_some() || obtained.is_empty(),
            "acme.agree-to-terms: the server was started without it: restart it to obtain \
             certificates"
        );
        server.set_host_certificates(&config.host_certificates())?;
        if let Some(acme) = &self.acme {
            acme.set(obtained);
        }
        Ok(())
    }

    /// Serves the site in the folders of `config`, which nothing changes. What is served now is
    /// served until all of it is loaded.
    fn replace_site(&self, config: &Config, settings: Settings) -> anyhow::Result<()> {
        self.wait_for_start()?;
        let engine = self.engine.with_policies(settings.policies.clone());
        let pages = Pages::open(config.site.root(), config.page_options())?;
        let is_stopping = || self.progress.is_draining();
        let registry = reload::scan_until(config.site.handlers(), &engine, &is_stopping).registry();
        ensure!(!is_stopping(), STOPPING);
        let mut problems = registry.problems().iter();
        if let Some(problem) = problems.find(|problem| problem.keeps_from_loading()) {
            bail!("{problem}");
        }
        let reload = {
            let mut following = self.following();
            following.folder = config.site.handlers().to_owned();
            std::mem::replace(&mut following.state, FollowState::Fixed)
        };
        // It would publish its own handlers again.
        drop(reload);
        self.engine.set_policies(settings.policies.clone());
        self.pages.replace_by(&pages);
        self.settings.publish(settings);
        self.registry.publish(registry);
        Ok(())
    }

    /// Loads and follows the site itself, unless it does already.
    fn follow_site(&self, config: &Config) -> anyhow::Result<()> {
        let mut following = self.following();
        if !matches!(following.state, FollowState::Unserved) {
            return Ok(());
        }
        let (root, handlers) = (config.site.root(), config.site.handlers());
        let projects = projects::start(config, None, false, &self.builds)?;
        let scan = reload::list(handlers, config.external_handlers()?, projects);
        self.pages.reopen();
        self.registry.publish(scan.registry());
        let options = ReloadOptions {
            on_pages: Some(on_pages(self.pages.clone(), None)),
            loads: config.compile.processes(),
            ..Default::default()
        };
        let loader = Arc::new(self.engine.clone());
        let threads = &self.threads;
        let reload = threads.follow(scan, Some(root), loader, self.registry.clone(), options);
        reload.announced(Vec::new());
        following.state = FollowState::Followed(reload);
        Ok(())
    }

    /// Withdraws the handlers of the site itself, to which no request leads any more.
    fn leave_site(&self, config: &Config) {
        // Dropped without the lock, because its threads may take long; and first, because it would
        // publish its handlers again.
        let followed = self.following().stop();
        drop(followed);
        let nothing = reload::list_nothing(config.site.handlers());
        self.registry.publish(nothing.registry());
    }

    /// Waits until the handlers that existed at the start are loaded, or can't be loaded.
    pub(super) fn wait_for_start(&self) -> anyhow::Result<()> {
        while !self.progress.has_loaded() {
            ensure!(!self.progress.is_draining(), STOPPING);
            thread::sleep(START_POLL);
        }
        Ok(())
    }
}

/// Returns the function that is called after changes of pages.
pub(super) fn on_pages(pages: Arc<Pages>, dev: Option<Arc<Dev>>) -> OnPages {
    Box::new(move |change| {
        if change == PagesChange::Replaced {
            pages.reopen();
        }
        if let Some(dev) = &dev {
            dev.pages_changed(&change);
        }
    })
}
