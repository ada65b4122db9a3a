//! Taking over a changed file while the server runs.

use super::show::values;
use super::{Config, Draft, ResolvedConfig, Sources};

/// The keys that are looked at once, at the start: sockets, threads, processes, folders,
/// certificates' names, limits of the processes that compile, and what a pool of memory was made
/// for. A section alone stands for all its keys.
pub const RESTART_KEYS: &[&str] = &[
    "site",
    "server.addr",
    "server.threads",
    "server.processes",
    "server.log-level",
    "budget.memory",
    "compile",
    "tls",
];

/// The configuration that the program goes by.
pub struct Live {
    sources: Sources,
    flags: Flags,
    apply: Apply,
    running: Config,
    was_there: bool,
}

/// Puts the flags over what the file says.
type Flags = Box<dyn Fn(&mut Draft) + Send>;

/// Puts a configuration into force.
type Apply = Box<dyn FnMut(&Config) -> anyhow::Result<()> + Send>;

/// What a new configuration has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Keys that are in force now.
    pub(super) taken: Vec<String>,
    /// Keys that will be at the next start.
    pub(super) later: Vec<String>,
}

impl Live {
    /// What is reloaded, and how it is put into force. `running` is in force already.
    pub fn new(
        sources: Sources,
        running: Config,
        flags: impl Fn(&mut Draft) + Send + 'static,
        apply: impl FnMut(&Config) -> anyhow::Result<()> + Send + 'static,
    ) -> Self {
        Self {
            was_there: sources.file().is_file(),
            sources,
            flags: Box::new(flags),
            apply: Box::new(apply),
            running,
        }
    }

    /// Reads the file again, and takes over what may change. Says in the log what that was; a file
    /// that is broken or gone changes nothing.
    pub fn reload(&mut self) {
        let file = self.sources.file();
        let shown = file.display();
        if self.was_there && !file.exists() {
            tracing::warn!("{shown} is gone: the settings stay as they are until it is back");
            return;
        }
        let result =
            ResolvedConfig::load(&self.sources, |draft| (self.flags)(draft)).and_then(|resolved| {
                // What overlaps by leave was told at the start.
                resolved.check_layout(&self.sources)?;
                self.take(resolved.config)
            });
        match result {
            Ok(changes) => {
                self.was_there |= file.is_file();
                changes.log(&shown.to_string());
            }
            Err(error) => tracing::error!("{error:#} (the settings stay as they were)"),
        }
    }

    pub(super) fn take(&mut self, mut config: Config) -> anyhow::Result<Changes> {
        let changes = Changes::between(&self.running, &config);
        let running = &self.running;
        config.site = running.site.clone();
        config.server.addr = running.server.addr;
        config.server.threads = running.server.threads;
        config.server.processes = running.server.processes;
        config.server.log_level = running.server.log_level;
        config.budget.memory_bytes = running.budget.memory_bytes;
        config.tls = running.tls.clone();
        if !changes.taken.is_empty() {
            (self.apply)(&config)?;
        }
        self.running = config;
        Ok(changes)
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
    pub(super) fn between(old: &Config, new: &Config) -> Self {
        let (old, new) = (values(old), values(new));
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let changed = keys
            .into_iter()
            .filter(|key| old.get(*key) != new.get(*key))
            .cloned();
        let (later, taken) = changed.partition(|key| needs_restart(key));
        Self { taken, later }
    }

    fn log(&self, file: &str) {
        match (self.taken.is_empty(), self.later.is_empty()) {
            (true, true) => tracing::info!("{file}: nothing is different"),
            (false, true) => tracing::info!("{file}: taken over: {}", self.taken.join(", ")),
            (true, false) => {
                tracing::warn!("{file}: needs a restart: {}", self.later.join(", "));
            }
            (false, false) => tracing::warn!(
                "{file}: taken over: {}; needs a restart: {}",
                self.taken.join(", "),
                self.later.join(", ")
            ),
        }
    }
}

/// Whether a key is looked at only at the start.
pub(super) fn needs_restart(key: &str) -> bool {
    let section = key.split('.').next().unwrap_or(key);
    RESTART_KEYS.contains(&key) || RESTART_KEYS.contains(&section)
}
