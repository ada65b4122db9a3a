//! The folder of an embedded store.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Creates the folder of a database if it doesn't exist.
///
/// # Errors
///
/// Fails if the folder can't be created.
pub(in crate::state) fn create_folder(folder: &Path) -> io::Result<()> {
    // Other users must not read it.
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)
}
