//! The steps from a file and flags to a complete configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::complaint::Complaint;
use super::draft::{Draft, Origin};
use super::file::{self, FILE_NAME};
use super::sections::Config;
use super::{check, overlap, site};

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
pub(crate) struct ResolvedConfig {
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
    pub(crate) fn load(sources: &Sources, flags: impl FnOnce(&mut Draft)) -> anyhow::Result<Self> {
        site::check_folder(&sources.site)?;
        let path = sources.file();
        let text = file::text(&path, sources.file.is_some())?;
        Self::new(&path, text.as_deref(), &sources.site, flags)
            .map_err(|complaint| anyhow::anyhow!("{complaint}"))
    }

    /// Checks that visitors can only read pages: the folder of pages must neither contain nor be
    /// contained in the handlers, the configuration, a key or the compiled code. Returns a log
    /// message for each overlap that `site.allow-overlap` allows.
    ///
    /// # Errors
    ///
    /// Fails with one line that names the key and the overlapping folders, and suggests a layout.
    pub(crate) fn check_layout(&self, sources: &Sources) -> anyhow::Result<Vec<String>> {
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

    pub(super) fn new(
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
        draft.config.state.settle(site);
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
