//! The configuration: from `wasgi.toml`, from flags, and from defaults.
//!
//! Each section of the file is a struct in the module that uses it. [`Config`] contains all of
//! them, and [`Config::visit`] lists them: a section that is added there is read, checked for
//! unknown keys, printed and reloaded. `table` has all that is known about each key: a `key` has a
//! name, bounds, a flag and a line in `docs/configuration.md`, and is live or needs a restart. The
//! steps from a file to a [`Config`]:
//!
//! 1. `file` parses TOML into sections. A key that no section knows (`keys`) is an error that names
//!    the `nearest` one.
//! 2. The flags override it ([`Draft::flag`]); `cli` parses them into a `value`.
//! 3. `site` fills in paths that are not set.
//! 4. `check` adjusts defaults to the values that were set, and checks ranges and contradictions.
//! 5. `overlap`, when serving, checks that the pages contain nothing private.
//!
//! [`ResolvedConfig::show`] prints the result as a file again. `live` repeats these steps when
//! `watch` reports that the file changed, and `handover` passes the result to a worker process.

mod check;
mod complaint;
mod file;
mod handover;
mod key;
mod keys;
mod live;
mod nearest;
mod overlap;
mod show;
mod site;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod watch;
mod wording;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::policy::Handler;
use crate::{content, engine, http1, log, machine, server, static_files};
use table::HANDLER_KEYS;

pub use crate::policy::{Budget, Handlers, Policy};
pub use complaint::Complaint;
pub use key::{Flag, FlagKind, Key};
pub use live::Live;
pub use nearest::unknown_handlers;
#[cfg(test)]
pub(crate) use show::values;
pub use site::Site;
pub use table::KEYS;
pub use value::Value;
pub use watch::{Stamp, Watch};

/// The configuration file in a site's folder.
pub const FILE_NAME: &str = "wasgi.toml";

/// The complete configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The folders of the site.
    pub site: Site,
    /// The addresses to listen on, and how to serve.
    pub server: server::Options,
    /// The limits on the client's side of a connection, as enforced by the protocol core.
    pub http: http1::Limits,
    /// The limits on clients and connections, as enforced by the server.
    pub limits: server::Limits,
    /// The limits of the logs.
    pub log: log::Limits,
    /// The resource limits of one request.
    pub budget: Budget,
    /// The resource limits of compiling a handler.
    pub compile: engine::compile::Options,
    /// The settings for individual handlers.
    pub handlers: Handlers,
    /// How pages are served.
    pub pages: static_files::Options,
    /// The security fields sent with pages.
    pub security: static_files::Security,
    /// The settings for compression.
    pub compress: content::Options,
    /// The settings for TLS.
    pub tls: server::tls::Options,
    /// The trusted proxies, and what they may tell the server.
    pub proxy: server::proxy::Options,
}

/// A part of the configuration: keys and their values. A struct for serde, with `#[serde(default,
/// deny_unknown_fields)]`.
pub trait Section: Default + PartialEq + Serialize + DeserializeOwned {}

impl<T: Default + PartialEq + Serialize + DeserializeOwned> Section for T {}

/// An operation on each section.
pub trait Visit {
    /// Visits the section called `name`. Two sections may share a name.
    fn section<T: Section>(&mut self, name: &'static str, section: &mut T);

    /// Visits the section called `name`, whose tables have user-defined names.
    fn tables<T: Section>(&mut self, name: &'static str, tables: &mut T);
}

impl Config {
    /// Visits all sections, in the order in which they are printed.
    pub fn visit(&mut self, visitor: &mut impl Visit) {
        visitor.section("site", &mut self.site);
        visitor.section("server", &mut self.server);
        visitor.section("limits", &mut self.limits);
        visitor.section("limits", &mut self.http);
        visitor.section("limits", &mut self.log);
        // Before the budget: for a misspelled key, `cpu-time` and `wall-time` of `[budget]` are
        // more likely corrections than those of `[compile]`, and the last match is suggested.
        visitor.section("compile", &mut self.compile);
        visitor.section("budget", &mut self.budget);
        visitor.tables("handlers", &mut self.handlers);
        visitor.section("pages", &mut self.pages);
        visitor.section("security", &mut self.security);
        visitor.section("compress", &mut self.compress);
        visitor.section("tls", &mut self.tls);
        visitor.section("proxy", &mut self.proxy);
    }

    /// Returns all settings of the pages.
    pub fn page_options(&self) -> static_files::Options {
        static_files::Options {
            security: self.security.clone(),
            compress: self.compress,
            ..self.pages.clone()
        }
    }

    /// Returns the server's settings that can change while it runs.
    pub fn settings(&self) -> server::Settings {
        server::Settings {
            budget: self.budget,
            handlers: self.handlers.clone(),
            http: Arc::new(self.http.clone()),
            limits: self.limits,
            proxy: Arc::new(self.proxy.clone()),
            access_log: self.server.access_log,
            compress: self.compress,
            server_field: self.server.server_field,
        }
    }

    /// Returns the memory limit for all instances of one server process together, in bytes.
    pub fn instance_memory_bytes(&self) -> usize {
        /// The assumed size of a machine's memory if the system does not report it.
        const MIN_BYTES: u64 = 1 << 30;
        let whole = machine::memory_bytes().unwrap_or(MIN_BYTES);
        let bytes = self.limits.memory.of(whole) / u64::from(self.server.processes.max(1));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Resolves relative paths against `folder`.
    fn start_at(&mut self, folder: &Path) {
        self.site.start_at(folder);
        let files = [self.tls.cert.as_mut(), self.tls.key.as_mut()];
        for file in files.into_iter().flatten() {
            *file = site::within(folder, file);
        }
    }
}

/// The origin of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file, at this line.
    File(usize),
    /// This flag.
    Flag(&'static str),
}

/// A configuration under construction.
#[derive(Debug, Default)]
pub struct Draft {
    config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Draft {
    /// Sets a key to the value of its flag.
    pub fn flag(&mut self, key: &Key<Config>, value: &Value) {
        if let Some(flag) = key.flag {
            self.set(key, flag.name, value);
        }
    }

    /// Sets the key called `name` to a value that another flag stands for.
    pub fn flag_of(&mut self, name: &str, flag: &'static str, value: &Value) {
        if let Some(key) = KEYS.iter().find(|key| key.name == name) {
            self.set(key, flag, value);
        }
    }

    fn set(&mut self, key: &Key<Config>, flag: &'static str, value: &Value) {
        let is_set = (key.place.set)(&mut self.config, value);
        debug_assert!(
            is_set,
            "{flag} has a value of another type than {}",
            key.name
        );
        self.origins.insert(key.name.into(), Origin::Flag(flag));
    }

    /// Clears the keys in the tables of individual handlers that stand in place of `keys`, so that
    /// the values of `keys` apply to all handlers.
    pub fn clear_for_handlers<'k>(&mut self, keys: impl Iterator<Item = &'k Key<Config>>) {
        for key in keys.filter(|key| key.section() == "budget") {
            let is_same = |own: &&Key<Handler>| key.name.ends_with(&format!(".{}", own.name));
            if let Some(own) = HANDLER_KEYS.iter().find(is_same) {
                let clear = |table: &mut Handler| (own.place.copy)(table, &Handler::default());
                self.config.handlers.change(|_, table| clear(table));
            }
        }
    }
}

/// The sources of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The site's folder.
    pub site: PathBuf,
    /// A file to use instead of the one in the site's folder.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// Returns the file's path. The file may be missing unless it was explicitly named.
    pub fn file(&self) -> PathBuf {
        let in_site = || match self.site.as_os_str() {
            folder if folder == "." => FILE_NAME.into(),
            _ => self.site.join(FILE_NAME),
        };
        self.file.clone().unwrap_or_else(in_site)
    }
}

/// A complete, checked configuration, with the origin of each value.
#[derive(Clone, Debug)]
pub struct ResolvedConfig {
    /// The values.
    pub config: Config,
    /// The origins by key (`section.key`); a key that is missing here has its default value.
    pub origins: BTreeMap<String, Origin>,
}

impl ResolvedConfig {
    /// Reads the file, applies `flags` on top of it, fills in the defaults and checks the result.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or a key is wrong, with one line that gives the location
    /// and the reason.
    pub fn load(sources: &Sources, flags: impl FnOnce(&mut Draft)) -> anyhow::Result<Self> {
        site::check_folder(&sources.site)?;
        let path = sources.file();
        let text = file::text(&path, sources.file.is_some())?;
        Self::of(&path, text.as_deref(), &sources.site, flags)
            .map_err(|complaint| anyhow::anyhow!("{complaint}"))
    }

    /// Checks that visitors can only read pages: the folder of pages must neither contain nor be
    /// contained in the handlers, the configuration, a key or the compiled code. Returns a log
    /// message for each overlap that `site.allow-overlap` allows.
    ///
    /// # Errors
    ///
    /// Fails with one line that names the key and the overlapping folders, and suggests a layout.
    pub fn check_layout(&self, sources: &Sources) -> anyhow::Result<Vec<String>> {
        let path = sources.file();
        let overlaps = overlap::overlaps(&self.config, &path);
        let allowed = self.config.site.allow_overlap;
        match overlaps.iter().find(|overlap| overlap.is_refused(allowed)) {
            Some(refused) => {
                let complaint = place(&self.origins, &path, refused.complaint());
                Err(anyhow::anyhow!("{complaint}"))
            }
            None => Ok(overlaps.iter().map(overlap::Overlap::warning).collect()),
        }
    }

    fn of(
        path: &Path,
        text: Option<&str>,
        site: &Path,
        flags: impl FnOnce(&mut Draft),
    ) -> Result<Self, Complaint> {
        let mut draft = Draft::default();
        if let Some(text) = text {
            let read = file::read(text).map_err(|complaint| complaint.in_file(path))?;
            draft.config = read.config;
            draft.origins = read
                .lines
                .into_iter()
                .map(|(key, line)| (key, Origin::File(line)))
                .collect();
            if let Some(folder) = path.parent() {
                draft.config.start_at(folder);
            }
        }
        flags(&mut draft);
        draft.config.site.settle(site);
        check::yield_defaults(&mut draft.config, |key| draft.origins.contains_key(key));
        check::check(&draft.config).map_err(|complaint| place(&draft.origins, path, complaint))?;
        Ok(Self {
            config: draft.config,
            origins: draft.origins,
        })
    }
}

/// Adds the location of its key to an error: the line of `file`, or the flag.
fn place(origins: &BTreeMap<String, Origin>, file: &Path, complaint: Complaint) -> Complaint {
    match origins.get(&complaint.key) {
        Some(Origin::File(line)) => complaint.at(*line).in_file(file),
        Some(Origin::Flag(flag)) => complaint.by(flag),
        None => complaint,
    }
}
