//! From a path to an open file: what is there, and what to make of a file system that refuses.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use tracing::{error, warn};

use super::content_type;
use super::root::Root;
use super::security;
use crate::router::RequestPath;

/// What a path leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// A regular file.
    Page(Page),
    /// A folder that has an index page, asked for without the `/` at the end.
    Folder,
}

/// A page, open for reading, and what the file system says about it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) file: File,
    /// In bytes, when it was opened.
    pub(super) length: u64,
    pub(super) revision: Revision,
    pub(super) content_type: content_type::ContentType,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revision {
    /// A file put in place of another has a number of its own.
    pub(super) inode: u64,
    /// Nanoseconds since 1970 of the last change to the content, the name or the rights. Unlike the
    /// time of modification it cannot be set back by `cp -p`, `rsync -t` or `touch`.
    pub(super) changed_ns: u64,
    /// Seconds since 1970 of the last modification, which people know and may set.
    pub(super) modified_s: i64,
}

/// Why a page that may be there can't be served. It has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The file's rights keep the server out: 403.
    Forbidden,
    /// Too many open files, or too little memory: 503, it may pass.
    Busy,
    /// Anything else that a file system can say: 500.
    Broken,
}

/// What is behind one name.
enum Entry {
    File(OwnedFd, Stat),
    Folder,
    /// A FIFO, a socket, a device.
    Other,
}

/// Finds the page of `path`, or none.
pub(super) fn find(root: &Root, path: &RequestPath) -> Result<Option<Found>, Trouble> {
    let Some(name) = security::file_name(path) else {
        return Ok(None);
    };
    Ok(match look(root, &name)? {
        Some(Entry::File(file, stat)) => Some(Found::Page(Page::new(file, &stat, &name))),
        Some(Entry::Folder) => match look(root, &security::index_of(&name))? {
            Some(Entry::File(..)) => Some(Found::Folder),
            _ => None,
        },
        Some(Entry::Other) | None => None,
    })
}

/// The page of that very name right below the root, or none. For custom error pages.
pub(super) fn find_named(root: &Root, name: &str) -> Option<Page> {
    match look(root, name.as_bytes()) {
        Ok(Some(Entry::File(file, stat))) => Some(Page::new(file, &stat, name.as_bytes())),
        _ => None,
    }
}

impl Page {
    fn new(file: OwnedFd, stat: &Stat, name: &[u8]) -> Page {
        Page {
            file: File::from(file),
            length: u64::try_from(stat.st_size).unwrap_or(0),
            revision: Revision {
                inode: stat.st_ino,
                changed_ns: (stat.st_ctime.cast_unsigned())
                    .wrapping_mul(1_000_000_000)
                    .wrapping_add(stat.st_ctime_nsec),
                modified_s: stat.st_mtime,
            },
            content_type: content_type::of_name(name),
        }
    }
}

/// Opens `name` and looks at what it is: two calls to the kernel.
fn look(root: &Root, name: &[u8]) -> Result<Option<Entry>, Trouble> {
    let opened = root.open_file(name).and_then(|file| {
        let stat = rustix::fs::fstat(&file)?;
        Ok((file, stat))
    });
    match opened {
        Ok((file, stat)) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Entry::File(file, stat),
            FileType::Directory => Entry::Folder,
            _ => Entry::Other,
        })),
        Err(why) => refused(name, why),
    }
}

/// What an error of the file system means to the client, and a line in the log where somebody has
/// to do something about it.
fn refused(name: &[u8], why: Errno) -> Result<Option<Entry>, Trouble> {
    let page = name.escape_ascii();
    match why {
        // No such name; a socket or a device without a driver says ENXIO or ENODEV.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV => Ok(None),
        Errno::XDEV | Errno::LOOP => {
            warn!(
                "page {page}: a symbolic link to it leads out of the root or in a circle ({why})"
            );
            Ok(None)
        }
        Errno::ACCESS | Errno::PERM => {
            warn!("page {page}: not allowed to read it: {why}");
            Err(Trouble::Forbidden)
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
            error!("page {page}: can't be opened now: {why}");
            Err(Trouble::Busy)
        }
        _ => {
            error!("page {page}: can't be opened: {why}");
            Err(Trouble::Broken)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_errors_mean() {
        let table = [
            (Errno::NOENT, None),
            (Errno::NOTDIR, None),
            (Errno::NAMETOOLONG, None),
            (Errno::NXIO, None),
            (Errno::LOOP, None),
            (Errno::XDEV, None),
            (Errno::ACCESS, Some(Trouble::Forbidden)),
            (Errno::PERM, Some(Trouble::Forbidden)),
            (Errno::MFILE, Some(Trouble::Busy)),
            (Errno::NFILE, Some(Trouble::Busy)),
            (Errno::AGAIN, Some(Trouble::Busy)),
            (Errno::IO, Some(Trouble::Broken)),
        ];
        for (errno, trouble) in table {
            let told = refused(b"name\n", errno);
            assert!(!matches!(told, Ok(Some(_))), "{errno}");
            assert_eq!(told.err(), trouble, "{errno}");
        }
    }
}
