//! The identity of a folder, which a path does not have.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

/// The identity of a folder: inode numbers are soon reused, but with another birth time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Identity {
    /// Returns the identity of a folder; `None` if it doesn't exist or can't be inspected.
    pub(super) fn from_path(path: &Path) -> Option<Identity> {
        let metadata = fs::metadata(path).ok()?;
        metadata.is_dir().then(|| Identity {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: metadata.created().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_made_anew_is_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("handlers");
        assert_eq!(Identity::from_path(&path), None);
        fs::create_dir(&path).expect("a folder");
        let first = Identity::from_path(&path);
        assert!(first.is_some());
        assert_eq!(Identity::from_path(&path), first);
        fs::rename(&path, folder.path().join("old")).expect("moved");
        fs::create_dir(&path).expect("a folder");
        assert_ne!(Identity::from_path(&path), first);
        let file = folder.path().join("file");
        fs::write(&file, "").expect("a file");
        assert_eq!(Identity::from_path(&file), None);
    }
}
