//! Granted folders.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The maximum length of a folder's path in the sandbox, in bytes.
const MAX_DESTINATION_BYTES: usize = 4096;

/// A folder, as written in `wasgi.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FolderOptions {
    /// The folder on the host.
    pub source: PathBuf,
    /// Its absolute path in the sandbox.
    pub destination: String,
    /// Whether the handler may change it. Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable: bool,
    /// Whether only one request at a time may use it, over all threads and processes: then a
    /// program that doesn't lock its files, such as SQLite in a sandbox, can't damage them.
    /// Default: if it is writable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
}

/// A folder that a handler may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderGrant {
    /// The folder on the host.
    pub source: PathBuf,
    /// Its absolute path in the sandbox.
    pub destination: String,
    /// Whether the handler may change it.
    pub is_writable: bool,
    /// Whether only one request at a time may use it.
    pub is_exclusive: bool,
}

impl FolderOptions {
    /// Checks the path in the sandbox, and that no other folder has the same.
    ///
    /// # Errors
    ///
    /// Fails with the reason.
    pub(super) fn check(&self, earlier: &[Self]) -> Result<(), String> {
        let to = &self.destination;
        let bad = |why: &str| Err(format!("destination {to:?}: {why}"));
        if to.len() > MAX_DESTINATION_BYTES || to.contains('\0') {
            return bad("not a path");
        }
        if !to.starts_with('/') {
            return bad("must be absolute, such as /data");
        }
        let mut parts = to.split('/').skip(1);
        if to != "/" && parts.any(|part| matches!(part, "" | "." | "..")) {
            return bad("must not contain empty parts, `.` or `..`");
        }
        if earlier.iter().any(|earlier| earlier.destination == *to) {
            return bad("is granted twice");
        }
        Ok(())
    }

    pub(super) fn start_at(&mut self, resolve: &impl Fn(&Path) -> PathBuf) {
        self.source = resolve(&self.source);
    }

    /// Returns the grant.
    ///
    /// # Errors
    ///
    /// Fails in one line if the folder does not exist.
    pub(super) fn read(&self) -> Result<FolderGrant, String> {
        let source = self.source.display();
        match std::fs::metadata(&self.source) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(format!("source {source}: not a folder")),
            Err(error) => return Err(format!("source {source}: {error}")),
        }
        Ok(FolderGrant {
            source: self.source.clone(),
            destination: self.destination.clone(),
            is_writable: self.writable,
            is_exclusive: self.exclusive.unwrap_or(self.writable),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(destination: &str) -> FolderOptions {
        FolderOptions {
            source: "/".into(),
            destination: destination.into(),
            writable: false,
            exclusive: None,
        }
    }

    #[test]
    fn a_destination_is_an_absolute_path_of_its_own() {
        for good in ["/", "/data", "/var/lib/app"] {
            assert_eq!(folder(good).check(&[]), Ok(()), "{good}");
        }
        for bad in ["", "data", "/data/", "//data", "/a/../b", "/./a", "/a\0"] {
            assert!(folder(bad).check(&[]).is_err(), "{bad}");
        }
        let twice = folder("/data").check(&[folder("/data")]);
        assert!(twice.is_err_and(|why| why.contains("twice")));
        assert_eq!(folder("/data").check(&[folder("/data2")]), Ok(()));
    }

    #[test]
    fn a_writable_folder_is_exclusive_unless_it_says_otherwise() {
        let read = |writable, exclusive| {
            let folder = FolderOptions {
                writable,
                exclusive,
                ..folder("/data")
            };
            folder.read().expect("it is there").is_exclusive
        };
        assert!(read(true, None));
        assert!(!read(false, None));
        assert!(!read(true, Some(false)));
        assert!(read(false, Some(true)));
    }

    #[test]
    fn a_folder_that_is_missing_is_told_with_its_path() {
        let missing = FolderOptions {
            source: "/nowhere/at/all".into(),
            ..folder("/data")
        };
        let why = missing.read().expect_err("it is missing");
        assert!(why.starts_with("source /nowhere/at/all: "), "{why}");
    }
}
