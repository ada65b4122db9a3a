//! The text files of the repository.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// The path from the repository's root, with `/` as separator.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// Returns the extension of the file's name.
    pub(crate) fn extension(&self) -> &str {
        Path::new(&self.path)
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default()
    }
}

/// Returns the repository's root: that of the clone whose tests run. It may differ from the clone
/// in which they were compiled, if two share a target folder.
pub(crate) fn root() -> PathBuf {
    let package = env::var("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    Path::new(&package)
        .parent()
        .expect("xtask is in a workspace")
        .to_owned()
}

/// Returns all UTF-8 files, except for generated and third-party files.
pub(crate) fn tree() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    gather(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn gather(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in folder.read_dir().expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let relative = path
            .strip_prefix(root)
            .expect("it is below")
            .to_string_lossy()
            .into_owned();
        if is_foreign(&relative) || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            gather(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            files.push(File {
                path: relative,
                text,
            });
        }
    }
}

/// Returns whether a path is build output, version control, a cache, or third-party.
fn is_foreign(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name == "target"
        || name.starts_with("target-")
        || matches!(name, ".git" | ".wasgi" | "Cargo.lock" | "LICENSE")
        || matches!(
            path,
            "wit/deps" | "fuzz/corpus" | "fuzz/artifacts" | "fuzz/coverage"
        )
}

#[test]
fn the_tree_is_found_without_what_is_built() {
    let tree = tree();
    for path in [
        "Cargo.toml",
        "host/src/lib.rs",
        "wit/gateway.wit",
        "xtask/tests/tidy/tree.rs",
    ] {
        assert!(
            tree.iter().any(|file| file.path == path),
            "{path} is not found"
        );
    }
    assert!(tree.iter().all(|file| !file.path.starts_with("target/")));
    assert!(tree.iter().all(|file| !file.path.starts_with(".git/")));
}
