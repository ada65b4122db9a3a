//! The cache's folder: an open directory that this user alone may write to, and the files in it.
//!
//! The folder is opened once, from the root of the file system down, and each directory on the way
//! is looked at through its own descriptor. From then on files are opened relative to the folder's
//! descriptor, so that nobody can put another folder in its place.

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

/// Symbolic links that are followed on the way to the folder: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Permissions of others than the owner to write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// In a directory with this bit (`S_ISVTX`), such as `/tmp`, only a file's owner may rename it.
const STICKY: u32 = 0o1000;

/// An open directory, trusted at the time when it was opened.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// A file in the folder, as a listing shows it.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: OsString,
    /// Bytes on disk. A file with holes has fewer of these than its length.
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

/// Why a file of the folder was not opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is none.
    Missing,
    /// It is not a file that this program wrote: the reason, as in "is a symbolic link".
    Untrusted(&'static str),
    /// The system can't open it now.
    Unreadable(io::Error),
}

impl Folder {
    /// Opens the folder, and makes it and those above it if they are not there.
    ///
    /// # Errors
    ///
    /// Fails when it can't be made or opened, when it or a directory above it may be changed by
    /// others than this user and root, and when compiled code can't be run from there.
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
            bail!("is on a file system from which nothing may be run (mounted noexec)");
        }
        Ok(folder)
    }

    /// Looks whether nobody but this user may write to the folder.
    ///
    /// # Errors
    ///
    /// Somebody else may, or the folder can't be looked at.
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

    /// Opens a file of the folder to read it.
    ///
    /// # Errors
    ///
    /// There is none, it is no regular file of this user's that nobody else may write to, or it
    /// can't be opened.
    pub(super) fn read(&self, name: &OsStr) -> Result<File, Refusal> {
        // Without waiting: a pipe would have the server wait for a writer.
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

    /// Makes a new file that is locked, so that no other process takes it for one whose writer has
    /// gone. None if there is one of that name, or another process has just removed it.
    ///
    /// # Errors
    ///
    /// The system can't make it.
    pub(super) fn create(&self, name: &OsStr) -> io::Result<Option<File>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = match rustix::fs::openat(&self.0, name, flags, mode) {
            Ok(file) => file,
            Err(Errno::EXIST) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Whatever the process's file mode creation mask has left of it.
        rustix::fs::fchmod(&file, mode)?;
        let is_locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !is_locked || rustix::fs::fstat(&file)?.st_nlink == 0 {
            return Ok(None);
        }
        Ok(Some(file.into()))
    }

    /// Gives a file another name, in place of the file that has it, and has the system write that
    /// to the disk.
    pub(super) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        rustix::fs::renameat(&self.0, from, &self.0, to)?;
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Removes a file, or an empty folder.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Err(Errno::ISDIR) => Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?),
            other => Ok(other?),
        }
    }

    /// Removes a file that no process has locked: one whose writer has gone.
    pub(super) fn remove_unlocked(&self, name: &OsStr) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        self.remove(name)
    }

    /// The regular files in the folder.
    ///
    /// # Errors
    ///
    /// The folder can't be read.
    pub(super) fn list(&self) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            // One that another process has just removed is not there any more.
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

/// Bytes that an open file takes on disk.
///
/// # Errors
///
/// It can't be looked at.
pub(super) fn on_disk(file: &File) -> io::Result<u64> {
    Ok(blocks(&rustix::fs::fstat(file)?))
}

fn blocks(stat: &Stat) -> u64 {
    // In units of 512 bytes, whatever the file system's own are (stat(3type)).
    u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512)
}

fn modified(stat: &Stat) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or(0));
    SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(stat.st_mtime_nsec)
}

const NO_FILE: &str = "is not a regular file";

/// Why somebody else may write to a file or folder, if so.
fn untrusted(stat: &Stat) -> Option<&'static str> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        Some("belongs to another user")
    } else if stat.st_mode & WRITABLE_BY_OTHERS != 0 {
        Some("may be written to by others")
    } else {
        None
    }
}

/// A directory above the folder: who may write to it can put another in the folder's place.
fn check_above(shown: &Path, stat: &Stat) -> anyhow::Result<()> {
    check_owner(shown, stat)?;
    // Many systems give each user a group of his own, and let it write. So this process's own group
    // may.
    let own_group = stat.st_gid == rustix::process::getegid().as_raw();
    let others = if own_group { 0o002 } else { WRITABLE_BY_OTHERS };
    if stat.st_mode & others != 0 && stat.st_mode & STICKY == 0 {
        bail!(
            "{} may be written to by others, who could put other code in its place",
            shown.display()
        );
    }
    Ok(())
}

fn check_owner(shown: &Path, stat: &Stat) -> anyhow::Result<()> {
    if stat.st_uid != 0 && stat.st_uid != rustix::process::geteuid().as_raw() {
        bail!(
            "{} belongs to another user, who could put other code in its place",
            shown.display()
        );
    }
    Ok(())
}

/// The steps of a path, without the root.
fn parts(path: &Path) -> VecDeque<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    parts.collect()
}

/// Opens a file of whatever sort to look at it and to go on from it.
fn open_path(at: impl AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Makes a directory for this user alone, in one that nobody else may change.
fn make(at: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::mkdirat(at, name, Mode::RWXU) {
        // Whatever the process's file mode creation mask has left of it.
        Ok(()) => rustix::fs::chmodat(at, name, Mode::RWXU, AtFlags::empty())?,
        // Another process has made it meanwhile.
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    open_path(at, name)
}
