//! The options of the code cache.

use std::path::Path;

/// The folder with the code cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheFolder<'p> {
    /// The folder.
    pub folder: &'p Path,
    /// The maximum disk space, in bytes.
    pub max_bytes: u64,
}
