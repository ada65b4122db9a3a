//! The cache's folder: an open directory that only this user may write to, and its files.
//!
//! The folder is opened once, starting at the root of the file system, and each directory on the
//! path is checked through its own descriptor. Files are then opened relative to the folder's
//! descriptor, so that replacing the folder has no effect.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat, StatVfsMountFlags,
};
use rustix::io::Errno;

/// The maximum number of symbolic links on the path to the folder: Linux's limit.
const MAX_LINKS: usize = 40;

/// The write permissions of users other than the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// In a directory with this bit (`S_ISVTX`), such as `/tmp`, only a file's owner may rename it.
const STICKY: u32 = 0o1000;

/// An open directory that was trusted when it was opened.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// A file in a listing of the folder.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: OsString,
    /// The size on disk, in bytes. With holes, it is less than the file's length.
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// Why a file of the folder was not opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The file doesn't exist.
    Missing,
    /// This program did not write the file: the reason, as in "is a symbolic link".
    Untrusted(&'static str),
    /// The system can't open it now.
    Unreadable(io::Error),
}

impl Folder {
    /// Opens the folder. Creates it and its parents if they are missing.
    ///
    /// # Errors
    ///
    /// Fails if the folder can't be created or opened, if users other than this one and root may
    /// change it or a directory above it, or if code can't be executed from there.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let absolute = std::path::absolute(path).context("has no absolute path")?;
        let mut rest = parts(&absolute);
        let mut at = open_path(CWD, OsStr::new("/"))?;
        let mut shown = Path::new("/").to_owned();
        let mut links = 0;
        check_above(&shown, &rustix::fs::fstat(&at)?)?;
        while let Some(name) = rest.pop_front() {
            let next = match open_path(&at, &name) {
                Err(Errno::NOENT) => make(&at, &name)
                    .with_context(|| format!("could not make {}", shown.join(&name).display()))?,
                other => other.with_context(|| format!("could not open {}", shown.display()))?,
            };
            let stat = rustix::fs::fstat(&next)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                let target =
                    OsString::from_vec(rustix::fs::readlinkat(&next, "", Vec::new())?.into_bytes());
                if rest.is_empty() {
                    bail!("is a symbolic link: name {} instead", target.display());
                }
                links += 1;
                if links > MAX_LINKS {
                    bail!("has too many symbolic links above it");
                }
                check_owner(&shown.join(&name), &stat)?;
                if Path::new(&target).is_absolute() {
                    at = open_path(CWD, OsStr::new("/"))?;
                    shown = "/".into();
                }
                let mut parts = parts(Path::new(&target));
                parts.append(&mut rest);
                rest = parts;
                continue;
            }
            shown.push(&name);
            if !rest.is_empty() {
                check_above(&shown, &stat)?;
            }
            at = next;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = Self(rustix::fs::openat(&at, ".", flags, Mode::empty())?);
        folder.check()?;
        let mount = rustix::fs::fstatvfs(&folder.0)?.f_flag;
        if mount.contains(StatVfsMountFlags::NOEXEC) {
            bail!("is on a file system that forbids execution (mounted noexec)");
        }
        Ok(folder)
    }

    /// Checks that only this user may write to the folder.
    ///
    /// # Errors
    ///
    /// Fails if another user may write to it, or it can't be inspected.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let stat = rustix::fs::fstat(&self.0)?;
        if let Some(reason) = untrusted(&stat) {
            bail!(
                "{reason}: compiled code is trusted, so the folder must belong to this user \
                   and be writable by nobody else"
            );
        }
        Ok(())
    }

    /// Opens a file of the folder for reading.
    ///
    /// # Errors
    ///
    /// Fails if the file doesn't exist or can't be opened, or if it is not a regular file that
    /// belongs to this user and that no other user may write to.
    pub(super) fn read(&self, name: &OsStr) -> Result<File, Refusal> {
        // Nonblocking: opening a pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(Refusal::Missing),
            Err(Errno::LOOP) => return Err(Refusal::Untrusted("is a symbolic link")),
            // A socket, or a device without a driver.
            Err(Errno::NXIO | Errno::NODEV) => return Err(Refusal::Untrusted(NO_FILE)),
            Err(error) => return Err(Refusal::Unreadable(error.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| Refusal::Unreadable(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refusal::Untrusted(NO_FILE));
        }
        match untrusted(&stat) {
            Some(reason) => Err(Refusal::Untrusted(reason)),
            None => Ok(file),
        }
    }

    /// Returns a file's length in bytes, or 0 if it can't be determined.
    pub(super) fn length(&self, name: &OsStr) -> u64 {
        let stat = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW);
        stat.map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Creates a new locked file. Other processes treat an unlocked one as abandoned by its writer.
    /// Returns `None` if a file of that name exists, or another process has just removed it.
    ///
    /// # Errors
    ///
    /// Fails if the system can't create the file.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match rustix::fs::openat(&self.0, name, flags, mode) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Independent of the process's umask.
        rustix::fs::fchmod(&file, mode)?;
        let is_locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !is_locked || rustix::fs::fstat(&file)?.st_nlink == 0 {
            return Ok(None);
        }
        Ok(Some(file.into()))
    }

    /// Renames a file, replacing an existing one, and syncs the folder to the disk.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        rustix::fs::renameat(&self.0, from, &self.0, to)?;
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Removes a file or an empty folder.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?),
            other => Ok(other?),
        }
    }

    /// Removes a file that no process has locked: its writer has exited.
    pub(super) fn remove_unlocked(&self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        // Between the two, its writer may have removed or renamed it, and another may have created
        // a file of that name, which is locked. While this lock is held, no other removes the file.
        let opened = rustix::fs::fstat(&file)?;
        let named = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.remove(name)
    }

    /// Lists the regular files in the folder.
    ///
    /// # Errors
    ///
    /// Fails if the folder can't be read.
    pub(super) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            // Fails if another process has just removed the file.
            let Ok(stat) =
                rustix::fs::statat(&self.0, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            else {
                continue;
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                listed.push(Listed {
                    name: OsString::from_vec(entry.file_name().to_bytes().to_vec()),
                    bytes: blocks(&stat),
                    modified: modified(&stat),
                });
            }
        }
        Ok(listed)
    }
}

/// Returns the size of an open file on disk, in bytes.
///
/// # Errors
///
/// Fails if the file can't be inspected.
pub(super) fn on_disk(file: &File) -> io::Result<u64> {
    Ok(blocks(&rustix::fs::fstat(file)?))
}

fn blocks(stat: &Stat) -> u64 {
    // In units of 512 bytes, whatever the file system's block size (stat(3type)).
    u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512)
}

fn modified(stat: &Stat) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(stat.st_mtime_nsec)
}

const NO_FILE: &str = "is not a regular file";

/// Returns why another user may write to a file or folder, if so.
fn untrusted(stat: &Stat) -> Option<&'static str> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        Some("belongs to another user")
    } else if stat.st_mode & WRITABLE_BY_OTHERS != 0 {
        Some("is writable by others")
    } else {
        None
    }
}

/// Checks a directory above the folder: a user who may write to it could replace the folder.
fn check_above(shown: &Path, stat: &Stat) -> anyhow::Result<()> {
    check_owner(shown, stat)?;
    // Many systems give each user a private group with write permission. So allow this process's
    // own group.
    let own_group = stat.st_gid == rustix::process::getegid().as_raw();
    let others = if own_group { 0o002 } else { WRITABLE_BY_OTHERS };
    if stat.st_mode & others != 0 && stat.st_mode & STICKY == 0 {
        bail!(
            "{} is writable by others, who could replace the code",
            shown.display()
        );
    }
    Ok(())
}

fn check_owner(shown: &Path, stat: &Stat) -> anyhow::Result<()> {
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        bail!(
            "{} belongs to another user, who could replace the code",
            shown.display()
        );
    }
    Ok(())
}

/// Returns the components of a path, without the root.
fn parts(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

/// Opens a file of any type, to inspect it and to continue from it.
fn open_path(at: impl AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Creates a directory for this user alone, in one that no other user may change.
fn make(at: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(at, name, Mode::RWXU) {
        // Independent of the process's umask.
        Ok(()) => rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?,
        // Another process has created it in the meantime.
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    open_path(at, name)
}
