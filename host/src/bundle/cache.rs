//! Unpacks bundles to folders that are named by their identity.
//!
//! The folders are in one that belongs to this user alone. Each is written under another name,
//! synced to the disk and renamed, so one that exists is complete. All processes that serve a
//! bundle share its folder, and hold a shared lock on it. Folders without a lock are removed,
//! except for those that were used last.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, syncfs};
use rustix::io::Errno;

use super::archive::Archive;
use super::format::Entry;
use super::signature::{PublicKey, Signed};
use super::{HANDLERS, PAGES, RUNTIME};
use crate::reload;

/// The number of unused folders that are kept: those of the versions before, to which an operator
/// may go back.
const KEPT_UNUSED: usize = 3;

/// The front of the names of folders that are being written.
const UNFINISHED: &str = "new-";

/// The front of the names of folders that are being removed.
const REMOVED: &str = "old-";

/// The age at which an unfinished folder is abandoned: writing the largest takes minutes.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How often another process may remove the folder that is about to be used, or write it first.
const ATTEMPTS: usize = 3;

/// The write permissions of users other than the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A bundle in a folder, which stays as long as this exists.
#[derive(Debug)]
pub(crate) struct Unpacked {
    path: PathBuf,
    folder: PathBuf,
    id: blake3::Hash,
    config: Option<String>,
    signed: Option<Signed>,
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
        open_cache(cache).with_context(|| {
            format!(
                "{}: can't be unpacked to {} (bundle.cache names another folder)",
                shown(),
                cache.display()
            )
        })?;
        let signed = key.map(|key| key.verify(archive, cache)).transpose()?;
        let config = archive.config(max_config_bytes).with_context(shown)?;
        let folder = cache.join(archive.id().to_hex().as_str());
        for _ in 0..ATTEMPTS {
            if let Some(lock) = lock_whole(&folder, archive.entries())? {
                remove_unused(cache);
                return Ok(Self {
                    path: archive.path().to_owned(),
                    folder,
                    id: archive.id(),
                    config,
                    signed,
                    _lock: lock,
                });
            }
            unpack(archive, cache, &folder).with_context(shown)?;
        }
        bail!(
            "{}: {} is removed again and again by another program",
            shown(),
            folder.display()
        )
    }

    /// Returns the bundle's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
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

/// Creates the cache if it is missing, and checks that no other user can write to it.
fn open_cache(cache: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(cache)
        .context("can't be made")?;
    let metadata = fs::metadata(cache).context("can't be inspected")?;
    ensure!(
        metadata.uid() == rustix::process::geteuid().as_raw(),
        "it belongs to another user"
    );
    ensure!(
        metadata.mode() & WRITABLE_BY_OTHERS == 0,
        "other users may write to it"
    );
    Ok(())
}

/// Locks a folder, marks it as used, and checks that its files are still there. Returns `None` if
/// there is no such folder, after removing one that is not whole.
fn lock_whole(folder: &Path, entries: &[Entry]) -> anyhow::Result<Option<File>> {
    let lock = match File::open(folder) {
        Ok(lock) => lock,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{}", folder.display())),
    };
    let locked = flock(&lock, FlockOperation::NonBlockingLockShared);
    // Another process removes it, or has just removed it.
    if locked.is_err() || !is_at(&lock, folder) {
        return Ok(None);
    }
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
        remove(folder);
        return Ok(None);
    }
    // Only the order of removals depends on it.
    let _ = lock.set_modified(SystemTime::now());
    Ok(Some(lock))
}

/// Returns whether an open folder is the one at a path.
fn is_at(open: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (open.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

/// Writes the contents of a bundle to `folder`, whole or not at all.
fn unpack(archive: &Archive, cache: &Path, folder: &Path) -> anyhow::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let aside = cache.join(format!("{UNFINISHED}{}-{count}", std::process::id()));
    check_space(archive, cache)?;
    let written = write(archive, &aside).and_then(|()| {
        match renameat_with(CWD, &aside, CWD, folder, RenameFlags::NOREPLACE) {
            // Another process was faster.
            Err(Errno::EXIST) => Ok(()),
            // A file system without this kind of rename: a folder never replaces one with files.
            Err(Errno::INVAL | Errno::NOSYS) => Ok(fs::rename(&aside, folder)?),
            renamed => Ok(renamed?),
        }
    });
    // It exists unless it was renamed.
    if aside.exists() {
        remove(&aside);
    }
    written
}

fn write(archive: &Archive, aside: &Path) -> anyhow::Result<()> {
    let cant = || format!("{} can't be written", aside.display());
    make(aside).with_context(cant)?;
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
    date_packages(aside, archive.entries()).with_context(cant)?;
    let top = File::open(aside).with_context(cant)?;
    // One call for all files. They must be on the disk before the name is.
    syncfs(&top).with_context(cant)
}

/// Checks that there is space for a bundle before any of it is written.
fn check_space(archive: &Archive, cache: &Path) -> anyhow::Result<()> {
    let needed = archive.index.content_bytes;
    let free = rustix::fs::statvfs(cache).map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if let Ok(free) = free {
        ensure!(
            needed <= free,
            "needs {} MiB in {}, and {} MiB are free there",
            needed.div_ceil(1 << 20),
            cache.display(),
            free >> 20
        );
    }
    Ok(())
}

fn make(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
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

/// Removes unfinished folders that no process writes to, and unused ones beyond [`KEPT_UNUSED`].
/// What can't be removed is tried again with the next bundle.
fn remove_unused(cache: &Path) {
    let mut unused = Vec::new();
    for entry in fs::read_dir(cache).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let Ok(used) = entry.metadata().and_then(|metadata| metadata.modified()) else {
            continue;
        };
        let name = name.to_string_lossy();
        let is_old = used.elapsed().is_ok_and(|age| age > ABANDONED);
        if name.starts_with(REMOVED) || (name.starts_with(UNFINISHED) && is_old) {
            // What can't be removed now is found again.
            let _ = fs::remove_dir_all(&path);
        } else if super::format::parse_hash(&name).is_some() && !is_used(&path) {
            unused.push((used, path));
        }
    }
    unused.sort();
    unused.reverse();
    for (_, path) in unused.into_iter().skip(KEPT_UNUSED) {
        remove(&path);
    }
}

/// Returns whether a process has a lock on a folder.
fn is_used(folder: &Path) -> bool {
    let lock = File::open(folder);
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}

/// Removes a folder, unless a process uses it. It gets another name first, so that none with the
/// name of a bundle is incomplete.
fn remove(folder: &Path) {
    let Ok(lock) = File::open(folder) else { return };
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return;
    }
    // Between the two, another process may have removed the folder, and a third one unpacked the
    // bundle again.
    if !is_at(&lock, folder) {
        return;
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let aside = folder.with_file_name(format!("{REMOVED}{}-{name}", std::process::id()));
    if fs::rename(folder, &aside).is_ok() {
        // What is left is removed with the next bundle.
        let _ = fs::remove_dir_all(&aside);
    }
}
