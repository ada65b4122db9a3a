//! Unpacks bundles to folders that are named by their identity.
//!
//! The folders are in one that belongs to this user alone: see
//! [`version_folders`](crate::version_folders).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use super::archive::{Archive, PulledBundle};
use super::format::Entry;
use super::signature::{PublicKey, Signed};
use super::{HANDLERS, PAGES, RUNTIME};
use crate::reload;
use crate::version_folders::VersionFolders;

/// The number of unused folders that are kept: those of the versions before, to which an operator
/// may go back.
const KEPT_UNUSED: usize = 3;

/// How often another process may remove the folder that is about to be used, or write it first.
const ATTEMPTS: usize = 3;

/// The permissions of the folders: those of this user.
const MODE: u32 = 0o700;

/// A bundle in a folder, which stays as long as this exists.
#[derive(Debug)]
pub(crate) struct Unpacked {
    path: PathBuf,
    folder: PathBuf,
    id: blake3::Hash,
    config: Option<String>,
    signed: Option<Signed>,
    /// Where it is from, if that is a registry.
    pulled: Option<Arc<PulledBundle>>,
    /// The folder, with a shared lock.
    _lock: File,
}

impl Unpacked {
    /// Unpacks a bundle to the folder `cache`, unless the folder has it already. If there is a
    /// `key`, it must have signed the bundle.
    ///
    /// # Errors
    ///
    /// Fails if the bundle is damaged or not signed as required, if its configuration is longer
    /// than `max_config_bytes`, if other users may write to the cache, or if there is no space.
    pub(crate) fn new(
        archive: &Archive,
        cache: &Path,
        key: Option<&PublicKey>,
        max_config_bytes: u64,
    ) -> anyhow::Result<Self> {
        let shown = || archive.path().display().to_string();
        let folders = VersionFolders::new(cache, KEPT_UNUSED, MODE);
        folders.create().with_context(|| {
            format!(
                "{}: can't be unpacked to {} (bundle.cache names another folder)",
                shown(),
                cache.display()
            )
        })?;
        let signed = key.map(|key| key.verify(archive, cache)).transpose()?;
        let config = archive.config(max_config_bytes).with_context(shown)?;
        let name = archive.id().to_hex();
        let folder = folders.path_of(&name);
        for _ in 0..ATTEMPTS {
            if let Some(lock) = lock_whole(&folders, &folder, archive.entries())? {
                folders.remove_unused(|name| super::format::parse_hash(name).is_some());
                return Ok(Self {
                    path: archive.path().to_owned(),
                    folder,
                    id: archive.id(),
                    config,
                    signed,
                    pulled: archive.pulled.clone(),
                    _lock: lock,
                });
            }
            let space = folders.check_space(archive.index.content_bytes);
            space.with_context(shown)?;
            let put = folders.put(&name, |aside| write(archive, aside));
            put.with_context(shown)?;
        }
        bail!(
            "{}: {} is removed again and again by another program",
            shown(),
            folder.display()
        )
    }

    /// Returns the bundle's path, or its reference.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder at which its relative paths start: the one that the bundle is in, or the
    /// current one for a bundle from a registry.
    pub(crate) fn base(&self) -> &Path {
        match &self.pulled {
            Some(_) => Path::new(""),
            None => self.path.parent().unwrap_or(Path::new("")),
        }
    }

    /// Returns the beginning of the bundle's identity, for people.
    pub(crate) fn version(&self) -> String {
        self.id.to_hex().chars().take(12).collect()
    }

    /// Returns the text of its configuration, if it has one.
    pub(crate) fn config(&self) -> Option<&str> {
        self.config.as_deref()
    }

    /// Returns the folder of its pages.
    pub(crate) fn pages(&self) -> PathBuf {
        self.folder.join(PAGES)
    }

    /// Returns the folder of its handlers.
    pub(crate) fn handlers(&self) -> PathBuf {
        self.folder.join(HANDLERS)
    }

    /// Returns the folder of its runtimes, if it has them.
    pub(crate) fn runtime(&self) -> Option<PathBuf> {
        let folder = self.folder.join(RUNTIME);
        folder.is_dir().then_some(folder)
    }

    /// Records that it is served: bundles with older signatures are refused from now on.
    pub(crate) fn is_served(&self) {
        if let Some(signed) = &self.signed
            && let Err(error) = signed.record()
        {
            let shown = self.path.display();
            tracing::warn!(
                "{shown}: the time of its signature can't be recorded, so an older bundle would be \
                 served: {error}"
            );
        }
    }
}

/// Locks a folder, marks it as used, and checks that its files are still there. Returns `None` if
/// there is no such folder, after removing one that is not whole.
fn lock_whole(
    folders: &VersionFolders,
    folder: &Path,
    entries: &[Entry],
) -> anyhow::Result<Option<File>> {
    let locked = folders.lock(folder);
    let locked = locked.with_context(|| format!("{}", folder.display()))?;
    let Some(lock) = locked else { return Ok(None) };
    let is_there = |entry: &Entry| {
        let found = fs::symlink_metadata(folder.join(&entry.name));
        found.is_ok_and(|found| found.is_file() && found.len() == entry.length)
    };
    if !entries.iter().all(is_there) {
        tracing::warn!(
            "{}: files are missing, which another program must have removed: unpacked again",
            folder.display()
        );
        drop(lock);
        folders.remove(folder);
        return Ok(None);
    }
    // Only the order of removals depends on it.
    let _ = lock.set_modified(SystemTime::now());
    Ok(Some(lock))
}

/// Writes the contents of a bundle to a new folder.
fn write(archive: &Archive, aside: &Path) -> anyhow::Result<()> {
    let cant = || format!("{} can't be written", aside.display());
    for folder in [PAGES, HANDLERS] {
        make(&aside.join(folder)).with_context(cant)?;
    }
    let mut file = None;
    archive.read_all(|entry, part| {
        let open = match &mut file {
            Some(open) => open,
            None => file.insert(create(aside, &entry.name).with_context(cant)?),
        };
        if part.is_empty() {
            file = None;
            return Ok(());
        }
        open.write_all(part).with_context(cant)
    })?;
    date_packages(aside, archive.entries()).with_context(cant)
}

fn make(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(MODE).create(folder)
}

/// Creates a file of this name, which was checked, and the folders above it.
fn create(top: &Path, name: &str) -> std::io::Result<File> {
    let path = top.join(name);
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
    };
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(path.parent().unwrap_or(top))?;
            open()
        }
        opened => opened,
    }
}

/// Sets the times of the folders of installed packages, which are part of the version of the
/// application that uses them: the same packages get the same time on every machine, and others
/// another one.
fn date_packages(top: &Path, entries: &[Entry]) -> std::io::Result<()> {
    /// The number of times that are used, in seconds since 1970.
    const TIMES_S: u64 = 1 << 30;
    let mut hashers: Vec<(&str, blake3::Hasher)> = Vec::new();
    for entry in entries {
        if let Some(folder) = reload::package_folder(&entry.name) {
            if hashers.last().is_none_or(|(last, _)| *last != folder) {
                hashers.push((folder, blake3::Hasher::new()));
            }
            if let Some((_, hasher)) = hashers.last_mut() {
                hasher.update(entry.name.as_bytes());
                hasher.update(entry.hash.as_bytes());
            }
        }
    }
    for (folder, hasher) in hashers {
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        let time = Duration::new(u64::from_le_bytes(bytes) % TIMES_S, 0);
        File::open(top.join(folder))?.set_modified(SystemTime::UNIX_EPOCH + time)?;
    }
    Ok(())
}
