//! Reads a handler's file: it must be a regular file, not too large, and complete.

use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, bail};

use super::application;
use crate::file_stamp::FileStamp;
use crate::mapped_bytes::MappedBytes;
use crate::registry::Version;
use crate::regular_file::open;

/// The maximum size of a handler's file. A Python interpreter with a framework and its libraries is
/// a component of some 30 MiB; this allows several of those in one.
pub(crate) const MAX_HANDLER_BYTES: u64 = 256 * 1024 * 1024;

/// The content of a file.
pub(super) enum Content {
    /// The file no longer exists.
    Gone,
    /// It changed while it was read: the bytes may be a mixture of versions.
    Torn(MappedBytes),
    /// The complete content.
    Whole(MappedBytes),
}

/// Reads the file at `path`.
///
/// # Errors
///
/// Fails if the file can't be read, is not a regular file, or is larger than [`MAX_HANDLER_BYTES`].
pub(super) fn read(path: &Path) -> anyhow::Result<Content> {
    if application::is_one(path) {
        let manifest = MappedBytes::copy_of(&application::manifest(path)?)?;
        return Ok(Content::Whole(manifest));
    }
    let mut file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Gone),
        Err(error) => return Err(error).context("can't be opened"),
    };
    let before = file.metadata().context("can't be inspected")?;
    if !before.is_file() {
        bail!("not a regular file");
    }
    let bytes = MappedBytes::read(&mut file, before.len(), MAX_HANDLER_BYTES);
    let bytes = bytes.context("can't be read")?;
    let Some(bytes) = bytes else {
        bail!(
            "larger than {} MiB, the limit for a handler",
            MAX_HANDLER_BYTES >> 20
        );
    };
    let after = file.metadata().context("can't be inspected")?;
    if FileStamp::from_metadata(&before) == FileStamp::from_metadata(&after)
        && bytes.len() as u64 == after.len()
    {
        Ok(Content::Whole(bytes))
    } else {
        Ok(Content::Torn(bytes))
    }
}

/// Returns the version of the file at `path`, if possible. Doesn't hold the whole content in
/// memory, because the caller only needs to detect a change.
pub(super) fn version(path: &Path) -> Option<Version> {
    if application::is_one(path) {
        return Some(Version::from_content(&application::manifest(path).ok()?));
    }
    let file = open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    Version::read(file.take(MAX_HANDLER_BYTES)).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    fn error(path: &Path) -> String {
        match read(path) {
            Ok(_) => panic!("{} was read", path.display()),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn a_file_is_read_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.wasm");
        assert!(matches!(read(&path), Ok(Content::Gone)));
        fs::write(&path, "abc").expect("written");
        let Ok(Content::Whole(bytes)) = read(&path) else {
            panic!("not whole");
        };
        assert_eq!(&*bytes, b"abc");
    }

    #[test]
    fn what_is_no_regular_file_never_blocks() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(error(folder.path()), "not a regular file");
        assert_eq!(error(Path::new("/dev/zero")), "not a regular file");
        let fifo = folder.path().join("x.wasm");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("a FIFO");
        assert_eq!(error(&fifo), "not a regular file");
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused_unread() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("big.wasm");
        let file = File::create(&path).expect("created");
        // Sparse: uses no space on the disk.
        file.set_len(MAX_HANDLER_BYTES + 1).expect("sized");
        assert_eq!(error(&path), "larger than 256 MiB, the limit for a handler");
    }
}
