//! Tells from modification times whether a built file is up to date.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Returns whether a file is newer than all of these files and folders.
pub(crate) fn is_newer(file: &Path, sources: &[PathBuf]) -> bool {
    let Some(built) = modified(file) else {
        return false;
    };
    sources
        .iter()
        .all(|source| newest(source).is_some_and(|source| source < built))
}

/// Returns the latest modification time of a file, or of any file in a folder.
fn newest(path: &Path) -> Option<SystemTime> {
    let mut last = modified(path);
    if path.is_dir() {
        for entry in path.read_dir().ok()?.flatten() {
            let name = entry.file_name();
            if name == "__pycache__" {
                continue;
            }
            last = last.max(newest(&entry.path()));
        }
    }
    last
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_component_is_newer_than_its_sources_or_built_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (sources, built) = ([folder.path().join("src")], folder.path().join("app.wasm"));
        let source = sources[0].join("app.py");
        fs::create_dir(&sources[0]).expect("made");
        fs::write(&source, "").expect("written");
        assert!(!is_newer(&built, &sources), "it is not there");

        fs::write(&built, "").expect("written");
        let later = SystemTime::now() + std::time::Duration::from_secs(10);
        let set = |path: &Path, time| {
            let file = fs::File::options().append(true).open(path);
            file.and_then(|file| file.set_modified(time)).expect("set");
        };
        set(&built, later);
        assert!(is_newer(&built, &sources));

        set(&source, later + std::time::Duration::from_secs(1));
        assert!(!is_newer(&built, &sources), "a source has changed");
    }
}
