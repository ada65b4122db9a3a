//! Replaces an application's packages as a whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rustix::fs::{CWD, RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

use crate::engine::PACKAGES;

/// The front of the names of folders into which packages are installed. The server ignores names
/// that start with a dot.
const FRONT: &str = ".packages.new-";

/// The age at which such a folder is abandoned: several times the limit of an installation.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A folder in an application's folder, for an installation. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
}

impl Staging {
    /// Creates the folder, and removes those that killed processes have left.
    pub(super) fn create(application: &Path) -> anyhow::Result<Self> {
        let application = std::path::absolute(application)?;
        for entry in fs::read_dir(&application)
            .context("can't be read")?
            .flatten()
        {
            let is_one = entry.file_name().to_string_lossy().starts_with(FRONT);
            let is_old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > ABANDONED);
            let time = entry.metadata().and_then(|metadata| metadata.modified());
            if is_one && time.is_ok_and(is_old) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = application.join(format!("{FRONT}{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("{}: can't be made", folder.display()))?;
        Ok(Self { folder })
    }

    /// Returns the folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder for the packages, which doesn't exist at first.
    pub(super) fn packages(&self) -> PathBuf {
        self.folder.join(PACKAGES)
    }

    /// Puts the packages in the place of `target`, in one step.
    pub(super) fn replace(&self, target: &Path) -> anyhow::Result<()> {
        let packages = self.packages();
        let exchanged = renameat_with(CWD, &packages, CWD, target, RenameFlags::EXCHANGE);
        let moved = match exchanged {
            Ok(()) => Ok(()),
            Err(Errno::NOENT) => renameat(CWD, &packages, CWD, target),
            // Not every file system can exchange two names.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(CWD, target, CWD, self.folder.join("old"))
                .and_then(|()| renameat(CWD, &packages, CWD, target)),
            Err(error) => Err(error),
        };
        moved.with_context(|| format!("{}: can't be replaced", target.display()))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What remains is removed by a later installation.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_replaced_as_a_whole_and_nothing_else_remains() {
        let application = tempfile::tempdir().expect("a folder");
        let target = application.path().join(PACKAGES);
        for version in ["one", "two"] {
            let staging = Staging::create(application.path()).expect("created");
            fs::create_dir(staging.packages()).expect("made");
            fs::write(staging.packages().join(version), "").expect("written");
            staging.replace(&target).expect("replaced");
        }
        let abandoned = Staging::create(application.path()).expect("created");
        fs::create_dir(abandoned.packages()).expect("made");
        drop(abandoned);
        let names = |folder: &Path| {
            let entries = fs::read_dir(folder).expect("a folder");
            entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(application.path()), [PACKAGES]);
        assert_eq!(names(&target), ["two"]);
    }
}
