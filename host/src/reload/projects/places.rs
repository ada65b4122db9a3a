//! The folders of builds: outside of the site, so that a build never changes a watched folder.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::registry::Version;

/// The folders of one site's builds.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    base: PathBuf,
}

impl Places {
    /// Returns the places of the site with this folder of handlers, in the folder `cache`.
    pub(crate) fn new(cache: &Path, handlers: &Path) -> Self {
        let handlers = handlers
            .canonicalize()
            .or_else(|_| std::path::absolute(handlers))
            .unwrap_or_else(|_| handlers.to_owned());
        let site = Version::from_content(handlers.as_os_str().as_encoded_bytes());
        Self {
            base: cache.join(site.to_string()),
        }
    }

    /// Returns the path of the program that a build of `file` results in. The file is a project's
    /// path in the folder of handlers.
    pub(crate) fn artifact(&self, file: &str) -> PathBuf {
        let mut name = self.base.join("out").join(file).into_os_string();
        name.push(".wasm");
        name.into()
    }

    /// Returns Cargo's target folder, which the site's projects share.
    pub(super) fn target(&self) -> PathBuf {
        self.base.join("cargo")
    }

    /// Returns the folder of the package that is generated for a file.
    pub(super) fn package(&self, file: &str) -> PathBuf {
        let hash = Version::from_content(file.as_bytes());
        self.base.join("packages").join(hash.to_string())
    }

    /// Returns the folder of the SDK for generated packages.
    pub(super) fn sdk(&self) -> PathBuf {
        self.base.join("sdk")
    }

    /// Returns the folder of the files that say why builds failed.
    pub(super) fn failures(&self) -> PathBuf {
        self.base.join("failed")
    }

    /// Returns the file that says why the last build of a project failed, if it did. The file is
    /// the project's path in the folder of handlers.
    pub(super) fn failure(&self, file: &str) -> PathBuf {
        let hash = Version::from_content(file.as_bytes());
        self.failures().join(hash.to_string())
    }

    /// Returns the file that is locked by the one process that builds the site when it changes.
    pub(super) fn leader(&self) -> PathBuf {
        self.base.join("leader.lock")
    }

    /// Returns the file that is locked while Cargo builds.
    pub(super) fn lock(&self) -> PathBuf {
        self.base.join("cargo.lock")
    }
}

/// Creates a folder, and those above it, for the user alone.
///
/// # Errors
///
/// Fails if it can't be created.
pub(super) fn create(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
