//! Folders that are named by what they contain, in one that belongs to this user: unpacked bundles,
//! and what was pulled from registries.
//!
//! Each is written under another name, synced to the disk and renamed, so one that exists is
//! complete. All processes that use a folder hold a shared lock on it. Folders without a lock are
//! removed, except for those that were used last.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, syncfs};
use rustix::io::Errno;

/// The front of the names of folders that are being written.
const UNFINISHED: &str = "new-";

/// The front of the names of folders that are being removed.
const REMOVED: &str = "old-";

/// The age at which an unfinished folder is abandoned: writing the largest takes minutes.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The write permissions of users other than the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A folder of such folders.
#[derive(Debug)]
pub(crate) struct VersionFolders {
    path: PathBuf,
    /// The number of unused folders that are kept.
    kept_unused: usize,
    /// The permissions of each folder.
    mode: u32,
}

impl VersionFolders {
    /// Describes the folders at a path, which need not exist.
    pub(crate) fn new(path: &Path, kept_unused: usize, mode: u32) -> Self {
        Self {
            path: path.to_owned(),
            kept_unused,
            mode,
        }
    }

    /// Returns the path of the folder of this name.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Creates the top folder if it is missing, and checks it.
    ///
    /// # Errors
    ///
    /// Fails if it can't be created, or as [`check`](Self::check) does.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .context("can't be made")?;
        self.check()
    }

    /// Checks that no user but this one and root can write to the top folder.
    ///
    /// # Errors
    ///
    /// Fails if another user can, or if it can't be inspected.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let metadata = fs::metadata(&self.path).context("can't be inspected")?;
        let own = rustix::process::geteuid().as_raw();
        ensure!(
            [own, 0].contains(&metadata.uid()),
            "it belongs to another user"
        );
        ensure!(
            metadata.mode() & WRITABLE_BY_OTHERS == 0,
            "other users may write to it"
        );
        Ok(())
    }

    /// Locks a folder, so that it stays. Returns `None` if there is none, or if it is being
    /// removed.
    ///
    /// # Errors
    ///
    /// Fails if it can't be opened.
    pub(crate) fn lock(&self, folder: &Path) -> io::Result<Option<File>> {
        let lock = match File::open(folder) {
            Ok(lock) => lock,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let locked = flock(&lock, FlockOperation::NonBlockingLockShared);
        // Another process removes it, or has just removed it.
        Ok((locked.is_ok() && is_at(&lock, folder)).then_some(lock))
    }

    /// Creates the folder of this name, with the files that `write` creates in it, as a whole or
    /// not at all. If another process is faster, its folder stays.
    ///
    /// # Errors
    ///
    /// Fails if `write` does, or if the disk does.
    pub(crate) fn put(
        &self,
        name: &str,
        write: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = self.path_of(name);
        let aside = self.path_of(&format!("{UNFINISHED}{}-{count}", std::process::id()));
        let cant = || format!("{} can't be written", aside.display());
        let written = DirBuilder::new()
            .mode(self.mode)
            .create(&aside)
            .with_context(cant)
            .and_then(|()| write(&aside))
            .and_then(|()| {
                let top = File::open(&aside).with_context(cant)?;
                // One call for all files. They must be on the disk before the name is.
                syncfs(&top).with_context(cant)
            })
            .and_then(|()| {
                match renameat_with(CWD, &aside, CWD, &folder, RenameFlags::NOREPLACE) {
                    // Another process was faster.
                    Err(Errno::EXIST) => Ok(()),
                    // A file system without this kind of rename: a folder never replaces one with
                    // files.
                    Err(Errno::INVAL | Errno::NOSYS) => Ok(fs::rename(&aside, &folder)?),
                    renamed => Ok(renamed?),
                }
            });
        // It exists unless it was renamed.
        if aside.exists() {
            self.remove(&aside);
        }
        written
    }

    /// Checks that there is space before any of it is written.
    ///
    /// # Errors
    ///
    /// Fails if there is less.
    pub(crate) fn check_space(&self, needed_bytes: u64) -> anyhow::Result<()> {
        let stat = rustix::fs::statvfs(&self.path);
        let free = stat.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        if let Ok(free) = free {
            ensure!(
                needed_bytes <= free,
                "needs {} MiB in {}, and {} MiB are free there",
                needed_bytes.div_ceil(1 << 20),
                self.path.display(),
                free >> 20
            );
        }
        Ok(())
    }

    /// Removes unfinished folders that no process writes to, and unused ones beyond those that are
    /// kept. `is_name` reports whether a name is that of a folder in use. What can't be removed is
    /// tried again the next time.
    pub(crate) fn remove_unused(&self, is_name: impl Fn(&str) -> bool) {
        let mut unused = Vec::new();
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let Ok(used) = entry.metadata().and_then(|metadata| metadata.modified()) else {
                continue;
            };
            let name = name.to_string_lossy();
            let is_old = used.elapsed().is_ok_and(|age| age > ABANDONED);
            if name.starts_with(REMOVED) || (name.starts_with(UNFINISHED) && is_old) {
                // What can't be removed now is found again.
                let _ = fs::remove_dir_all(&path);
            } else if is_name(&name) && !is_used(&path) {
                unused.push((used, path));
            }
        }
        unused.sort();
        unused.reverse();
        for (_, path) in unused.into_iter().skip(self.kept_unused) {
            self.remove(&path);
        }
    }

    /// Removes a folder, unless a process uses it. It gets another name first, so that none with
    /// its name is incomplete.
    pub(crate) fn remove(&self, folder: &Path) {
        let Ok(lock) = File::open(folder) else { return };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        // Between the two, another process may have removed the folder, and a third one created it
        // again.
        if !is_at(&lock, folder) {
            return;
        }
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.path_of(&format!("{REMOVED}{}-{name}", std::process::id()));
        if fs::rename(folder, &aside).is_ok() {
            // What is left is removed the next time.
            let _ = fs::remove_dir_all(&aside);
        }
    }
}

/// Returns whether an open file or folder is the one at a path.
pub(crate) fn is_at(open: &File, path: &Path) -> bool {
    let (Ok(open), Ok(there)) = (open.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}

/// Returns whether a process has a lock on a folder.
fn is_used(folder: &Path) -> bool {
    let lock = File::open(folder);
    lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err())
}
