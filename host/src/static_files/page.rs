//! A page: a regular file, open or in memory, with its metadata.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fs::Stat;
use wasgi_fields::range::Part;

use super::answer::{Content, FilePart, Piece};
use super::content_type::ContentType;
use super::open_file::OpenFile;
use crate::content::Coding;

/// The maximum length of a body that is read into memory at once, in bytes. About the size of a new
/// TCP connection's send buffer; the rest of a larger body would stay in memory while a slow client
/// reads.
pub(super) const INLINE_MAX_BYTES: u64 = 64 * 1024;

/// How long a file must be unchanged before its metadata identifies its content. Two changes within
/// one tick of the file system's clock are indistinguishable: 2 s on FAT, the coarsest; some
/// milliseconds on others.
const SETTLED: Duration = Duration::from_secs(2);

/// A page.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// The file's name relative to the root.
    pub(super) name: Arc<[u8]>,
    pub(super) source: Source,
    pub(super) revision: Revision,
    pub(super) content_type: ContentType,
    /// The coding of the file itself, according to its name: `app.js.gz`.
    pub(super) coding: Option<Coding>,
}

/// The source of a page's bytes.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A regular file, open for reading.
    File(Arc<OpenFile>),
    /// The whole content in memory.
    Memory(Bytes),
}

/// Metadata that changes whenever the file does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Revision {
    /// The file system that `inode` belongs to.
    pub(super) device: u64,
    /// The inode number. A file that replaces another has a different one.
    pub(super) inode: u64,
    /// The length in bytes.
    pub(super) length: u64,
    /// The time of the last change to the content, the name or the permissions, in nanoseconds
    /// since 1970. Unlike the modification time, `cp -p`, `rsync -t` or `touch` cannot set it.
    pub(super) changed_ns: u64,
    /// The time of the last modification, which users can set, in seconds since 1970 and additional
    /// nanoseconds.
    pub(super) modified_s: i64,
    pub(super) modified_ns: u32,
}

impl Revision {
    pub(super) fn from_stat(stat: &Stat) -> Revision {
        Revision {
            device: stat.st_dev,
            inode: stat.st_ino,
            length: u64::try_from(stat.st_size).unwrap_or(0),
            changed_ns: (stat.st_ctime.cast_unsigned())
                .wrapping_mul(1_000_000_000)
                .wrapping_add(stat.st_ctime_nsec),
            modified_s: stat.st_mtime,
            modified_ns: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        }
    }

    /// Reports whether the file has been unchanged for long enough that a further change will be
    /// detectable. Only then may its content be cached under this revision.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_nanos(self.changed_ns).saturating_add(SETTLED) < now
    }

    /// Reports whether a file that was derived from `page` predates the last modification of
    /// `page`.
    pub(super) fn is_older_than(&self, page: &Revision) -> bool {
        // Some tools copy the time without the fraction of a second.
        let ns = if self.modified_ns == 0 {
            0
        } else {
            page.modified_ns
        };
        (self.modified_s, self.modified_ns) < (page.modified_s, ns)
    }
}

impl Source {
    /// Reads a part of a page.
    ///
    /// Fails with `UnexpectedEof` if the file has become shorter, or was written to since it was
    /// opened.
    pub(super) fn read(&self, part: Part) -> io::Result<Bytes> {
        let too_short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let length = usize::try_from(part.length).map_err(|_| too_short())?;
        match self {
            Source::File(file) => {
                let mut bytes = vec![0; length];
                file.file().read_exact_at(&mut bytes, part.start)?;
                if !file.is_one_version() {
                    return Err(too_short());
                }
                Ok(bytes.into())
            }
            Source::Memory(bytes) => {
                let start = usize::try_from(part.start).map_err(|_| too_short())?;
                let end = start.checked_add(length).ok_or_else(too_short)?;
                if end > bytes.len() {
                    return Err(too_short());
                }
                Ok(bytes.slice(start..end))
            }
        }
    }

    /// Returns a part of the page: its bytes, if there are at most `inline_max_bytes`, or else its
    /// location in the file.
    ///
    /// Fails with `UnexpectedEof` if the file has become shorter or was written to.
    pub(super) fn piece(&self, part: Part, inline_max_bytes: u64) -> io::Result<Piece> {
        match self {
            Source::File(file) if part.length > inline_max_bytes => Ok(Piece::File(FilePart {
                file: Arc::clone(file),
                start: part.start,
                length: part.length,
            })),
            _ => Ok(Piece::Bytes(self.read(part)?)),
        }
    }
}

impl From<Piece> for Content {
    fn from(piece: Piece) -> Content {
        match piece {
            Piece::Bytes(bytes) if bytes.is_empty() => Content::Empty,
            Piece::Bytes(bytes) => Content::Bytes(bytes),
            Piece::File(part) => Content::File(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_settles_after_two_seconds() {
        let now = SystemTime::now();
        let ns = |time: SystemTime| {
            let since = time.duration_since(UNIX_EPOCH).expect("after 1970");
            u64::try_from(since.as_nanos()).expect("before 2500")
        };
        let changed = |changed_ns| Revision {
            changed_ns,
            ..Revision::default()
        };
        assert!(changed(ns(now - 2 * SETTLED)).is_settled(now));
        assert!(changed(0).is_settled(now));
        assert!(!changed(ns(now - SETTLED / 2)).is_settled(now));
        assert!(!changed(ns(now + SETTLED)).is_settled(now));
        assert!(!changed(u64::MAX).is_settled(now));
    }

    #[test]
    fn a_file_is_older_by_its_modification_time() {
        let modified = |modified_s, modified_ns| Revision {
            modified_s,
            modified_ns,
            ..Revision::default()
        };
        let page = modified(100, 5);
        for (made, older) in [
            (modified(99, 9), true),
            (modified(100, 4), true),
            (modified(100, 5), false),
            (modified(100, 6), false),
            (modified(101, 0), false),
            (modified(100, 0), false),
            (modified(99, 0), true),
        ] {
            assert_eq!(made.is_older_than(&page), older, "{made:?}");
        }
    }

    #[test]
    fn a_read_beyond_the_end_fails() {
        let source = Source::Memory(Bytes::from_static(b"0123"));
        let part = |start, length| Part { start, length };
        assert_eq!(source.read(part(1, 3)).expect("inside"), "123");
        assert_eq!(source.read(part(4, 0)).expect("nothing"), "");
        for outside in [part(1, 4), part(5, 0), part(u64::MAX, 1), part(1, u64::MAX)] {
            let told = source.read(outside).expect_err("outside");
            assert_eq!(told.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}
