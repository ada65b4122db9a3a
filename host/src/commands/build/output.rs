//! The file that a build writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, bail};

/// The extension of the file.
const EXTENSION: &str = "wasm";

/// The file that a build writes.
pub(super) struct Output(PathBuf);

impl Output {
    /// Returns the file that is named, or otherwise that with the handler's name in the current
    /// folder.
    ///
    /// # Errors
    ///
    /// Fails if its folder doesn't exist, or it is a folder itself.
    pub(super) fn new(named: Option<&Path>, handler: &Path) -> anyhow::Result<Self> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => {
                let absolute = std::path::absolute(handler)?;
                let stem = match handler.is_dir() {
                    true => absolute.file_name(),
                    false => absolute.file_stem(),
                };
                Path::new(stem.unwrap_or_default()).with_added_extension(EXTENSION)
            }
        };
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
            let shown = path.display();
            bail!(
                "can't write {shown}: there is no folder {}",
                parent.display()
            );
        }
        if path.is_dir() || path.file_name().is_none() {
            bail!("can't write {}: it is a folder", path.display());
        }
        Ok(Self(path))
    }

    /// Returns the path for a message.
    pub(super) fn shown(&self) -> impl std::fmt::Display + '_ {
        self.0.display()
    }

    /// Writes the file, by a rename, so that a server never sees a part of it.
    ///
    /// # Errors
    ///
    /// Fails if it can't be written.
    pub(super) fn write(&self, content: &[u8]) -> anyhow::Result<()> {
        // A server ignores names that begin with a dot.
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        let aside = self.0.with_file_name(format!(".{name}.{}", process::id()));
        let written = fs::write(&aside, content).and_then(|()| fs::rename(&aside, &self.0));
        if written.is_err() {
            // The error is that of the write.
            let _ = fs::remove_file(&aside);
        }
        written.with_context(|| format!("can't write {}", self.0.display()))
    }
}
