//! Identifies the content of files by their paths, sizes and times. Reading an interpreter or a
//! framework would take longer than the rest of a load.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Adds the path, size and time of a file to a hash.
pub(super) fn add_file(hasher: &mut blake3::Hasher, path: &Path, metadata: &Metadata) {
    add_path(hasher, path);
    for number in [
        metadata.size(),
        metadata.mtime().cast_unsigned(),
        metadata.mtime_nsec().cast_unsigned(),
    ] {
        hasher.update(&number.to_le_bytes());
    }
}

/// Adds a path to a hash, with its length.
pub(super) fn add_path(hasher: &mut blake3::Hasher, path: &Path) {
    let path = path.as_os_str().as_encoded_bytes();
    hasher.update(&(path.len() as u64).to_le_bytes());
    hasher.update(path);
}
