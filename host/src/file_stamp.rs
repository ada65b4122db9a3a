//! Identifies one state of a file, without reading it.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Identifies one state of a file: differs if the content has changed or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Returns the current state of a file, or of the file that a link leads to. None if it does
    /// not exist. Must be called before the file is read, so that later changes are detected.
    pub fn of_path(file: &Path) -> Option<Self> {
        std::fs::metadata(file)
            .ok()
            .as_ref()
            .map(Self::from_metadata)
    }

    /// Returns the state that the metadata describes.
    pub fn from_metadata(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Combines it with the stamp of a file in the folder.
    pub fn add(&mut self, name: &Path, other: &Self) {
        let mut hasher = DefaultHasher::new();
        (self.inode, name, other.device, other.inode, other.bytes).hash(&mut hasher);
        (other.modified, other.changed).hash(&mut hasher);
        self.inode = hasher.finish();
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.modified = self.modified.max(other.modified);
        self.changed = self.changed.max(other.changed);
    }

    /// Returns whether the file's own times say that it was last changed before `time`.
    pub fn is_before(&self, time: SystemTime) -> bool {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = self.changed.max(self.modified);
        u64::try_from(last.0).unwrap_or(0) < since.as_secs()
    }
}
