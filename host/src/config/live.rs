//! Applies a changed file while the server runs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::show::values;
use super::table::HANDLER_KEYS;
use super::{Config, Draft, Key, ResolvedConfig, Sources, all_keys};
use crate::bundle::Unpacked;
use crate::file_watch::{FileWatch, Stamps, Watched};
use crate::oci::Pulled;
use crate::policy::Handler;

/// The polling interval. Changed files are read once they have stayed the same for one interval: an
/// editor may write one in several steps.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The configuration in force.
pub(crate) struct Live {
    sources: Sources,
    flags: Flags,
    apply: Apply,
    running: Config,
    /// The bundle that is served.
    bundle: Option<Arc<Unpacked>>,
    /// The one before it: with several processes, they switch some time later.
    previous: Option<Arc<Unpacked>>,
    /// The handlers from registries that are served.
    pulled: Vec<Pulled>,
    /// The ones before.
    previously_pulled: Vec<Pulled>,
    is_stopping: Arc<AtomicBool>,
    /// The states of the files of secrets when they were read.
    secrets: Stamps,
    was_there: bool,
}

/// Applies the flags on top of the file.
type Flags = Box<dyn Fn(&mut Draft) + Send>;

/// Puts a configuration into force.
type Apply = Box<dyn FnMut(&Config) -> anyhow::Result<()> + Send>;

/// The differences of a new configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Changed keys that are now in force.
    pub(super) taken: Vec<String>,
    /// Changed keys that take effect at the next start.
    pub(super) later: Vec<String>,
    /// Files of secrets have changed, and were read again.
    pub(super) secrets: bool,
    /// Another version of the bundle is served: the bundle and its version.
    pub(super) bundle: Option<String>,
}

impl Live {
    /// Creates a reloader that calls `apply` with each new configuration. `running` is already in
    /// force, `bundle` is served, and so is what was `pulled`.
    pub(crate) fn new(
        sources: Sources,
        running: Config,
        bundle: Option<Arc<Unpacked>>,
        pulled: Vec<Pulled>,
        flags: impl Fn(&mut Draft) + Send + 'static,
        apply: impl FnMut(&Config) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        Self {
            was_there: sources.file().is_file(),
            secrets: running.secret_stamps(),
            sources,
            flags: Box::new(flags),
            apply: Box::new(apply),
            running,
            bundle,
            previous: None,
            pulled,
            previously_pulled: Vec::new(),
            is_stopping: Arc::default(),
        }
    }

    /// Watches the file and those of granted secrets, and reads them again, on a new thread, when
    /// they have changed since `first` was taken.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot create a thread.
    pub(crate) fn watch(self, first: Stamps) -> anyhow::Result<FileWatch> {
        FileWatch::start("wasgi-config", POLL_INTERVAL, first, self)
            .context("could not start the thread that watches the configuration")
    }

    /// Reads the file again and applies the changes that need no restart. Logs the changes. A file
    /// that is invalid or gone changes nothing.
    pub(crate) fn reload(&mut self) {
        let file = self.sources.file();
        let shown = match self.sources.file.is_none() && self.bundle.is_some() {
            true => self.sources.site.display().to_string(),
            false => file.display().to_string(),
        };
        let is_file = self.bundle.is_some() && self.sources.reference().is_none();
        if is_file && !self.sources.site.exists() {
            let shown = self.sources.site.display();
            tracing::warn!("{shown} was removed: its last version is served until it exists again");
            return;
        }
        if self.was_there && !file.exists() {
            tracing::warn!(
                "{shown} was removed: the settings stay in effect until it exists \
                            again"
            );
            return;
        }
        // A newer version of the file ends the downloads for this one, which would delay it.
        let stamps = self.sources.stamps();
        let is_superseded = AtomicBool::new(false);
        let result = self.read().and_then(|resolved| {
            // Overlaps that are allowed were logged at startup.
            resolved.check_layout(&self.sources)?;
            let pulled = resolved.config.pull_handlers(&|| {
                is_superseded.fetch_or(self.sources.stamps() != stamps, Ordering::Relaxed);
                is_superseded.load(Ordering::Relaxed) || self.is_stopping.load(Ordering::Relaxed)
            })?;
            let changes = self.take(&resolved.config, resolved.bundle)?;
            self.previously_pulled = std::mem::replace(&mut self.pulled, pulled);
            Ok(changes)
        });
        match result {
            Ok(changes) => {
                self.was_there |= file.is_file();
                changes.log(&shown);
            }
            Err(_) if self.is_stopping.load(Ordering::Relaxed) => {}
            Err(_) if is_superseded.load(Ordering::Relaxed) => tracing::info!(
                "{shown}: has changed during a download, which is no longer wanted: reading it again"
            ),
            Err(error) if self.bundle.is_some() => {
                tracing::error!("{error:#} (the last version is still served)");
            }
            Err(error) => tracing::error!("{error:#} (the settings are unchanged)"),
        }
    }

    fn read(&self) -> anyhow::Result<ResolvedConfig> {
        ResolvedConfig::load(&self.sources, |draft| (self.flags)(draft))
    }

    pub(super) fn take(
        &mut self,
        config: &Config,
        bundle: Option<Arc<Unpacked>>,
    ) -> anyhow::Result<Changes> {
        ensure!(
            bundle.is_some() == self.bundle.is_some(),
            "{}: a folder and a bundle can't replace each other while the server runs: restart it",
            self.sources.site.display()
        );
        let (mut changes, mut config) = Changes::between(&self.running, config);
        if let Some(new) = &bundle {
            changes.take_parts(&mut config, new);
        }
        let secrets = config.secret_stamps();
        changes.secrets = secrets != self.secrets;
        if !changes.taken.is_empty() || changes.secrets || changes.bundle.is_some() {
            (self.apply)(&config)?;
        }
        self.running = config;
        self.secrets = secrets;
        if let Some(new) = &bundle {
            new.is_served();
        }
        self.previous = std::mem::replace(&mut self.bundle, bundle);
        Ok(changes)
    }
}

impl Watched for Live {
    fn stamps(&self) -> Stamps {
        let mut stamps = self.sources.stamps();
        stamps.extend(self.running.secret_stamps());
        stamps
    }

    fn changed(&mut self) {
        self.reload();
    }

    fn begin(&mut self, is_stopping: Arc<AtomicBool>) {
        self.is_stopping = is_stopping;
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("sources", &self.sources)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

impl Changes {
    /// Compares a new configuration with the running one. Also returns the one to put into force:
    /// the new one, with the running values of keys that need a restart.
    pub(super) fn between(running: &Config, new: &Config) -> (Self, Config) {
        let mut kept = new.clone();
        keep(all_keys(), &mut kept, running);
        kept.handlers.change(|name, table| {
            let none = Handler::default();
            keep(
                HANDLER_KEYS.iter(),
                table,
                running.handlers.get(name).unwrap_or(&none),
            );
        });
        let changes = Self {
            taken: different(running, &kept),
            later: different(&kept, new),
            secrets: false,
            bundle: None,
        };
        (changes, kept)
    }

    /// Takes the parts of a bundle, although their keys need a restart in a site's folder.
    fn take_parts(&mut self, kept: &mut Config, bundle: &Unpacked) {
        let folder = Some(bundle.pages());
        if kept.site.root != folder {
            kept.site.root = folder;
            kept.site.handlers = Some(bundle.handlers());
            let shown = bundle.path().display();
            self.bundle = Some(format!("{shown}: serves version {}", bundle.version()));
        }
        let is_part = |key: &String| key == "site.root" || key == "site.handlers";
        self.later.retain(|key| !is_part(key));
    }

    fn log(&self, file: &str) {
        if self.secrets {
            tracing::info!("secrets have changed: handlers get the new values");
        }
        if let Some(bundle) = &self.bundle {
            tracing::info!("{bundle}");
        }
        match (self.taken.is_empty(), self.later.is_empty()) {
            (true, true) if self.secrets || self.bundle.is_some() => {}
            (true, true) => tracing::info!("{file}: no changes"),
            (false, true) => tracing::info!("{file}: applied: {}", self.taken.join(", ")),
            (true, false) => {
                tracing::warn!("{file}: needs a restart: {}", self.later.join(", "));
            }
            (false, false) => tracing::warn!(
                "{file}: applied: {}; needs a restart: {}",
                self.taken.join(", "),
                self.later.join(", ")
            ),
        }
    }
}

/// Sets the keys that are only read at startup to their running values.
fn keep<T: 'static>(keys: impl Iterator<Item = &'static Key<T>>, table: &mut T, running: &T) {
    for key in keys.filter(|key| !key.is_live) {
        (key.place.copy)(table, running);
    }
}

/// Returns the keys whose values differ.
fn different(old: &Config, new: &Config) -> Vec<String> {
    let (old, new) = (values(old), values(new));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changed = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key));
    changed.cloned().collect()
}
