//! The steps from a file and flags to a complete configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::complaint::Complaint;
use super::draft::{Draft, Origin};
use super::file::{self, FILE_NAME};
use super::sections::Config;
use super::{bundled, check, overlap, site};
use crate::bundle::{Archive, Unpacked, signature_of};
use crate::file_stamp::FileStamp;
use crate::file_watch::Stamps;
use crate::oci::Reference;

/// The sources of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The site's folder, or its bundle.
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

    /// Returns the reference to the bundle, if it is in a registry.
    pub(crate) fn reference(&self) -> Option<&str> {
        self.site.to_str().filter(|site| Reference::is_meant(site))
    }

    /// Returns the states of the files that the configuration comes from: the file and, unless the
    /// site is a folder, the bundle and its signature. Must be called before they are read.
    pub(crate) fn stamps(&self) -> Stamps {
        let mut stamps = vec![FileStamp::of_path(&self.file())];
        if !self.site.is_dir() && self.reference().is_none() {
            let signature = signature_of(&self.site);
            stamps.extend([&*self.site, &*signature].map(FileStamp::of_path));
        }
        stamps
    }
}

/// A complete, checked configuration, with the origin of each value.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedConfig {
    /// The values.
    pub config: Config,
    /// The origins by key (`section.key`); a key that is missing here has its default value.
    pub origins: BTreeMap<String, Origin>,
    /// The bundle that the site is in, whose folder stays as long as this exists.
    pub bundle: Option<Arc<Unpacked>>,
}

impl ResolvedConfig {
    /// Reads the file, applies `flags` on top of it, fills in the defaults and checks the result.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read or a key is wrong, with one line that gives the location
    /// and the reason.
    pub(crate) fn load(sources: &Sources, flags: impl FnOnce(&mut Draft)) -> anyhow::Result<Self> {
        if let Some(reference) = sources.reference() {
            let pull = |operator: &Config| bundled::pull(reference, operator);
            return Self::load_bundle(pull, sources.file.as_deref(), flags);
        }
        if let Some(archive) = Archive::open(&sources.site)? {
            return Self::load_bundle(|_| Ok(archive), sources.file.as_deref(), flags);
        }
        site::check_folder(&sources.site)?;
        let path = sources.file();
        let text = file::text(&path, sources.file.is_some())?;
        let resolved = Self::new(&path, text.as_deref(), &sources.site, flags)
            .map_err(|complaint| anyhow::anyhow!("{complaint}"))?;
        bundled::refuse_folder(&resolved.config, &sources.site)?;
        Ok(resolved)
    }

    /// Unpacks a bundle, which `find` returns for the operator's configuration, and loads its
    /// configuration with the operator's `file` on top of it.
    fn load_bundle(
        find: impl FnOnce(&Config) -> anyhow::Result<Archive>,
        file: Option<&Path>,
        flags: impl FnOnce(&mut Draft),
    ) -> anyhow::Result<Self> {
        let complain = |complaint: Complaint| anyhow::anyhow!("{complaint}");
        let mut operator = None;
        if let Some(path) = file {
            let text = file::text(path, true)?.unwrap_or_default();
            let read = file::read(&text).map_err(|complaint| complain(complaint.in_file(path)));
            let mut read = read?;
            bundled::refuse_hosts(&read).map_err(|complaint| complain(complaint.in_file(path)))?;
            if let Some(folder) = path.parent() {
                read.config.start_at(folder);
            }
            operator = Some(read);
        }
        let none = Config::default();
        let options = operator.as_ref().map_or(&none, |read| &read.config);
        let bundle = Arc::new(bundled::unpack(&find(options)?, options)?);
        let path = file.unwrap_or(Path::new(FILE_NAME));
        let mut draft = bundled::draft(&bundle, operator).map_err(complain)?;
        flags(&mut draft);
        bundled::set_parts(&mut draft, &bundle)
            .map_err(|complaint| complain(place(&draft.origins, path, Some(&bundle), complaint)))?;
        let folder = bundle.base().to_owned();
        Self::settle(draft, &folder, Some(bundle), path).map_err(complain)
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
        // A visitor who can write to the bundle can change the configuration in it.
        let bundle = self.bundle.iter();
        let of_bundle = bundle.flat_map(|it| overlap::overlaps(&self.config, it.path()));
        let of_bundle: Vec<_> = of_bundle.collect();
        let mut all = overlaps.iter().chain(&of_bundle);
        match all.find(|overlap| overlap.is_refused(allowed)) {
            Some(refused) => {
                let bundle = self.bundle.as_deref();
                let complaint = place(&self.origins, &path, bundle, refused.complaint());
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
        Self::settle(draft, site, None, path)
    }

    /// Fills in the defaults for the site in the folder `site`, and checks the result.
    fn settle(
        mut draft: Draft,
        site: &Path,
        bundle: Option<Arc<Unpacked>>,
        path: &Path,
    ) -> Result<Self, Complaint> {
        draft.config.site.settle(site);
        draft.config.hosts.settle(site);
        draft.config.state.settle(site);
        draft.config.acme.settle(site);
        check::yield_defaults(&mut draft.config, |key| draft.origins.contains_key(key));
        check::check(&draft.config)
            .map_err(|complaint| place(&draft.origins, path, bundle.as_deref(), complaint))?;
        Ok(Self {
            config: draft.config,
            origins: draft.origins,
            bundle,
        })
    }
}

/// Adds the location of its key to an error: the line of `file` or of the bundle's configuration,
/// or the flag.
fn place(
    origins: &BTreeMap<String, Origin>,
    file: &Path,
    bundle: Option<&Unpacked>,
    complaint: Complaint,
) -> Complaint {
    let fronts = std::iter::successors(Some(&*complaint.key), |key| {
        // A key in a host's table: the file's lines are known for the table.
        let is_of_host = key.starts_with("hosts.");
        key.rsplit_once('.')
            .filter(|_| is_of_host)
            .map(|(front, _)| front)
    });
    let origin = fronts.into_iter().find_map(|key| origins.get(key));
    match (origin, bundle) {
        (Some(Origin::File(line)), _) => complaint.at(*line).in_file(file),
        (Some(Origin::Bundle(line)), Some(bundle)) => {
            let file = bundle.path().join(FILE_NAME);
            complaint.at(*line).in_file(&file)
        }
        (Some(Origin::Flag(flag)), _) => complaint.by(flag),
        _ => complaint,
    }
}
