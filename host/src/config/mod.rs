//! What the program is told: by `wasgi.toml`, by flags, and by nobody, which is the defaults.
//!
//! Each section of the file is a struct next to the code that goes by it; [`Config`] has them all,
//! and [`Config::visit`] names them: a section that is added there can be read, checked for unknown
//! keys, printed and reloaded. The steps from a file to a [`Config`]:
//!
//! 1. `file`: TOML becomes sections. What no section knows (`keys`) is an error with the `nearest`.
//! 2. The flags go over it ([`Draft::flag`]); `cli` has them.
//! 3. `site`: paths that aren't set are filled in.
//! 4. `check`: defaults give way to what was set; ranges and contradictions.
//! 5. `overlap`, for who serves: is something among the pages that is not for visitors?
//!
//! [`ResolvedConfig::show`] prints the result as a file again. `live` does the same steps when the
//! file changes, and `watch` tells it to; `handover` is how a worker process gets to know the
//! result.
//! `docs/configuration.md` has a table of all keys.

mod budget;
mod check;
mod complaint;
mod file;
mod handlers;
mod handover;
mod keys;
mod live;
mod nearest;
mod overlap;
mod show;
mod site;
#[cfg(test)]
mod tests;
mod watch;
mod wording;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{content, engine, http1, log, machine, server, static_files};

pub use budget::Budget;
pub use complaint::Complaint;
pub use handlers::{Handler, Handlers, Policy};
pub use live::{Live, RESTART_KEYS};
#[cfg(test)]
pub(crate) use show::values;
pub use site::{CodeCache, Site};
pub use watch::{Stamp, Watch};

/// The file in a site's folder that says what differs from the defaults.
pub const FILE_NAME: &str = "wasgi.toml";

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where the folders are.
    pub site: Site,
    /// Where the server listens, and how.
    pub server: server::Options,
    /// What the client's side of a connection may cost: as the protocol core counts,
    pub http: http1::Limits,
    /// as the server counts,
    pub limits: server::Limits,
    /// and what the logs may hold.
    pub log: log::Limits,
    /// What one request may cost its handler.
    pub budget: Budget,
    /// What compiling a handler may cost.
    pub compile: engine::compile::Options,
    /// What is different for some handlers.
    pub handlers: Handlers,
    /// How pages are served,
    pub pages: static_files::Options,
    /// which fields go with them,
    pub security: static_files::Security,
    /// and what is compressed.
    pub compress: content::Options,
    /// Whether and how to speak TLS.
    pub tls: server::tls::Options,
    /// Which proxies are trusted, and with what.
    pub proxy: server::proxy::Options,
}

/// A part of the configuration: keys and their values. A struct for serde, with
/// `#[serde(default, deny_unknown_fields)]`.
pub trait Section: Default + PartialEq + Serialize + DeserializeOwned {}

impl<T: Default + PartialEq + Serialize + DeserializeOwned> Section for T {}

/// Something to be done with each section.
pub trait Visit {
    /// Does it with the section called `name`. Two sections may share a name.
    fn section<T: Section>(&mut self, name: &'static str, section: &mut T);

    /// Does it with the section called `name` that has tables whose names somebody chose.
    fn tables<T: Section>(&mut self, name: &'static str, tables: &mut T);
}

impl Config {
    /// Goes through all sections, in the order in which they are printed.
    pub fn visit(&mut self, visitor: &mut impl Visit) {
        visitor.section("site", &mut self.site);
        visitor.section("server", &mut self.server);
        visitor.section("limits", &mut self.limits);
        visitor.section("limits", &mut self.http);
        visitor.section("limits", &mut self.log);
        // Before the budget, whose `cpu-time` and `wall-time` are meant more often than its own.
        visitor.section("compile", &mut self.compile);
        visitor.section("budget", &mut self.budget);
        visitor.tables("handlers", &mut self.handlers);
        visitor.section("pages", &mut self.pages);
        visitor.section("security", &mut self.security);
        visitor.section("compress", &mut self.compress);
        visitor.section("tls", &mut self.tls);
        visitor.section("proxy", &mut self.proxy);
    }

    /// All that the pages go by.
    pub fn page_options(&self) -> static_files::Options {
        static_files::Options {
            security: self.security.clone(),
            compress: self.compress,
            ..self.pages.clone()
        }
    }

    /// The memory that the instances of one of the server's processes may have together, in bytes.
    pub fn instance_memory_bytes(&self) -> usize {
        /// What there is at least, where the system does not tell.
        const MIN_BYTES: u64 = 1 << 30;
        let whole = machine::memory_bytes().unwrap_or(MIN_BYTES);
        let bytes = self.limits.memory.of(whole) / u64::from(self.server.processes.max(1));
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Has relative paths start at `folder`.
    fn start_at(&mut self, folder: &Path) {
        self.site.start_at(folder);
        let files = [self.tls.cert.as_mut(), self.tls.key.as_mut()];
        for file in files.into_iter().flatten() {
            *file = site::within(folder, file);
        }
    }
}

/// Who said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The file, in this line.
    File(usize),
    /// This flag.
    Flag(&'static str),
}

/// A configuration in the making.
#[derive(Debug, Default)]
pub struct Draft {
    config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Draft {
    /// Has a flag set `key`, if it was given.
    pub fn flag<T: Clone>(
        &mut self,
        key: &str,
        flag: &'static str,
        value: Option<&T>,
        place: impl FnOnce(&mut Config) -> &mut T,
    ) {
        if let Some(value) = value {
            *place(&mut self.config) = value.clone();
            self.origins.insert(key.into(), Origin::Flag(flag));
        }
    }

    /// Changes what the file says of single handlers.
    pub fn change_handlers(&mut self, change: impl FnMut(&mut Handler)) {
        self.config.handlers.change(change);
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The site's folder.
    pub site: PathBuf,
    /// Another file than the one in there.
    pub file: Option<PathBuf>,
}

impl Sources {
    /// The file, which need not be there unless it was asked for.
    pub fn file(&self) -> PathBuf {
        let in_site = || match self.site.as_os_str() {
            folder if folder == "." => FILE_NAME.into(),
            _ => self.site.join(FILE_NAME),
        };
        self.file.clone().unwrap_or_else(in_site)
    }
}

/// A complete configuration, checked, and who said what of it.
#[derive(Clone, Debug)]
pub struct ResolvedConfig {
    /// What is set.
    pub config: Config,
    /// By key (`section.key`); what isn't in here is a default.
    pub origins: BTreeMap<String, Origin>,
}

impl ResolvedConfig {
    /// Reads the file, has `flags` go over it, fills in the defaults and checks the whole.
    ///
    /// # Errors
    ///
    /// One line: what can't be read, or which key is wrong, with its place and the reason.
    pub fn load(sources: &Sources, flags: impl FnOnce(&mut Draft)) -> anyhow::Result<Self> {
        site::check_folder(&sources.site)?;
        let path = sources.file();
        let text = file::text(&path, sources.file.is_some())?;
        Self::of(&path, text.as_deref(), &sources.site, flags)
            .map_err(|complaint| anyhow::anyhow!("{complaint}"))
    }

    /// Checks that no visitor can read what is not a page: that the folder of pages has neither
    /// the handlers, the configuration, a key nor compiled code in it, and is in none of these.
    /// Returns a line for the log for each overlap that `site.allow-overlap` allows.
    ///
    /// # Errors
    ///
    /// One line: the key, what is in which folder, and how to lay it out.
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

/// The complaint with the place of its key: the line of `file`, or the flag.
fn place(origins: &BTreeMap<String, Origin>, file: &Path, complaint: Complaint) -> Complaint {
    match origins.get(&complaint.key) {
        Some(Origin::File(line)) => complaint.at(*line).in_file(file),
        Some(Origin::Flag(flag)) => complaint.by(flag),
        None => complaint,
    }
}
