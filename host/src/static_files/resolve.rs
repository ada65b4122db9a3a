//! Resolves a path to an open file, and translates errors of the file system.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::FileType;
use rustix::io::Errno;
use tracing::{error, warn};

use super::cache::Cache;
use super::content_type;
use super::open_file::OpenFile;
use super::options::PageOptions;
use super::page::{Page, Revision, Source};
use super::root::Root;
use super::security;
use crate::router::RequestPath;

/// The result of resolving a path.
#[derive(Debug)]
pub(super) enum Found {
    /// A regular file.
    Page(Page),
    /// A folder that can be served, requested without the trailing `/`.
    Folder,
    /// A folder without an index page, to be listed.
    Listing(Folder),
}

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder {
    /// The name relative to the root, without a `/` at either end; empty for the root itself.
    pub(super) name: Vec<u8>,
    pub(super) folder: OwnedFd,
}

/// Cached short pages, by the names of their files. Each is valid as long as its file is in the
/// state in which it was read.
pub(super) type Kept = Cache<Arc<[u8]>, Page>;

/// The reason why a page that may exist cannot be served. The reason has been logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageError {
    /// The file's permissions exclude the server: 403.
    Forbidden,
    /// Too many open files, or too little memory: 503, since this is temporary.
    Busy,
    /// Any other error of the file system: 500.
    Broken,
}

/// The kind of file with a name.
enum Entry {
    File(Page),
    Folder,
    /// A FIFO, a socket or a device.
    Other,
}

/// Finds pages.
#[derive(Clone, Copy)]
pub(super) struct Finder<'a> {
    pub(super) root: &'a Root,
    pub(super) kept: &'a Kept,
    pub(super) options: &'a PageOptions,
}

impl Finder<'_> {
    /// Finds the page of `path`, or none.
    ///
    /// The order of precedence is: the file of exactly that name, a folder's index, the file with
    /// `.html` appended (with clean URLs), and a folder to be listed.
    pub(super) fn find(&self, path: &RequestPath) -> Result<Option<Found>, PageError> {
        let Some(name) = security::file_name(path) else {
            return Ok(None);
        };
        let entry = self.look(&name)?;
        let is_folder = match entry {
            Some(Entry::File(page)) => return Ok(Some(Found::Page(page))),
            Some(Entry::Other) => return Ok(None),
            Some(Entry::Folder) => true,
            None => false,
        };
        if path.has_trailing_slash() {
            return match security::folder_of_index(&name) {
                Some(folder) if self.options.listing && !is_folder => self.listing(folder),
                _ => Ok(None),
            };
        }
        if is_folder && let Some(Entry::File(_)) = self.look(&security::index_of(&name))? {
            return Ok(Some(Found::Folder));
        }
        if self.options.clean_urls
            && let Some(Entry::File(page)) = self.look(&[&*name, b".html"].concat())?
        {
            return Ok(Some(Found::Page(page)));
        }
        Ok((is_folder && self.options.listing).then_some(Found::Folder))
    }

    /// Returns the page in the file of exactly that name. None for any failure.
    pub(super) fn find_named(&self, name: &[u8]) -> Option<Page> {
        match self.look(name) {
            Ok(Some(Entry::File(page))) => Some(page),
            _ => None,
        }
    }

    /// Caches a page's bytes for the next request.
    pub(super) fn keep(&self, page: &Page, bytes: &Bytes) {
        let kept = Page {
            source: Source::Memory(bytes.clone()),
            ..page.clone()
        };
        self.kept.put(Arc::clone(&page.name), kept, bytes.len());
    }

    /// Examines the file called `name`: one system call for a cached page that has not changed,
    /// otherwise two to open it.
    fn look(&self, name: &[u8]) -> Result<Option<Entry>, PageError> {
        if let Some(kept) = self.kept.get(name)
            && let Ok(stat) = self.root.stat(name)
            && Revision::from_stat(&stat) == kept.revision
        {
            return Ok(Some(Entry::File(kept)));
        }
        let opened = self.root.open_file(name).and_then(|file| {
            let stat = rustix::fs::fstat(&file)?;
            Ok((file, stat))
        });
        match opened {
            Ok((file, stat)) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    let (content_type, coding) = content_type::of_file(name);
                    Entry::File(Page {
                        name: name.into(),
                        source: Source::File(Arc::new(OpenFile::new(File::from(file), &stat))),
                        revision: Revision::from_stat(&stat),
                        content_type,
                        coding,
                    })
                }
                FileType::Directory => Entry::Folder,
                _ => Entry::Other,
            })),
            Err(why) => refused(name, why),
        }
    }

    fn listing(&self, name: &[u8]) -> Result<Option<Found>, PageError> {
        match self.root.open_folder(name) {
            Ok(folder) => Ok(Some(Found::Listing(Folder {
                name: name.to_vec(),
                folder,
            }))),
            Err(why) => refused(name, why),
        }
    }
}

/// Translates an error of the file system to a response, and logs it if the operator has to act.
fn refused<T>(name: &[u8], why: Errno) -> Result<Option<T>, PageError> {
    let page = name.escape_ascii();
    match why {
        // No such name; a socket, or a device without a driver, reports ENXIO or ENODEV.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::NXIO | Errno::NODEV => Ok(None),
        Errno::XDEV | Errno::LOOP => {
            warn!(
                "page {page}: a symbolic link to it leads out of the root, or links form a loop \
                 ({why})"
            );
            Ok(None)
        }
        Errno::ACCESS | Errno::PERM => {
            warn!("page {page}: permission denied: {why}");
            Err(PageError::Forbidden)
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
            error!("page {page}: can't be opened now: {why}");
            Err(PageError::Busy)
        }
        _ => {
            error!("page {page}: can't be opened: {why}");
            Err(PageError::Broken)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_missing_page_or_a_page_error() {
        let table = [
            (Errno::NOENT, None),
            (Errno::NOTDIR, None),
            (Errno::NAMETOOLONG, None),
            (Errno::NXIO, None),
            (Errno::LOOP, None),
            (Errno::XDEV, None),
            (Errno::ACCESS, Some(PageError::Forbidden)),
            (Errno::PERM, Some(PageError::Forbidden)),
            (Errno::MFILE, Some(PageError::Busy)),
            (Errno::NFILE, Some(PageError::Busy)),
            (Errno::AGAIN, Some(PageError::Busy)),
            (Errno::IO, Some(PageError::Broken)),
        ];
        for (errno, error) in table {
            let told = refused::<Entry>(b"name\n", errno);
            assert!(!matches!(told, Ok(Some(_))), "{errno}");
            assert_eq!(told.err(), error, "{errno}");
        }
    }
}
