//! A project of the handlers folder.

use std::path::PathBuf;

use super::kind::ProjectKind;

/// A project in the handlers folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    /// Its path in the handlers folder, with `/` between its parts.
    pub(crate) file: String,
    /// Its absolute path.
    pub(crate) path: PathBuf,
    pub(crate) kind: ProjectKind,
}

impl Project {
    /// Returns the name of its handler: the file without an extension.
    pub(crate) fn name(&self) -> &str {
        match self.kind.is_folder() {
            true => &self.file,
            false => self
                .file
                .rsplit_once('.')
                .map_or(&self.file, |(name, _)| name),
        }
    }
}
