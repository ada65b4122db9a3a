//! The source files of a project: which have changed, by their content.
//!
//! The content decides, and not the time of a file, so that a build that writes the same file again
//! doesn't cause another build.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::file_stamp::FileStamp;
use crate::registry::Version;

/// The maximum number of files of a project. A larger folder has more in it than sources.
const MAX_FILES: usize = 10_000;

/// The maximum nesting of folders.
const MAX_DEPTH: usize = 32;

/// The maximum size of a source file whose content is compared, in bytes. Of a larger file, only
/// the times and the size are.
const MAX_COMPARED_BYTES: u64 = 16 << 20;

/// The folders that compilers and package managers write to.
const OUTPUTS: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// The files in which a build writes down the versions of its dependencies.
const LOCKS: [&str; 3] = ["Cargo.lock", "go.sum", "package-lock.json"];

/// The files of a project.
#[derive(Debug)]
pub(super) struct Sources {
    /// The folders and files to follow: the project, and what it depends on by path.
    roots: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// `None` if the content must be read again.
    stamp: Option<FileStamp>,
    content: Version,
}

/// Returns whether a name in a project's folder is not a source: hidden, written by a build,
/// or a temporary file of an editor.
fn is_ignored(name: &str) -> bool {
    const PASSING: [&str; 5] = ["~", ".tmp", ".swp", ".swx", "___jb_tmp___"];
    name.starts_with(['.', '#'])
        || OUTPUTS.contains(&name)
        || name == "4913"
        || PASSING.iter().any(|ending| name.ends_with(ending))
}

/// Returns whether a build writes this file itself.
pub(super) fn is_lock(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| LOCKS.iter().any(|lock| name == *lock))
}

impl Sources {
    /// Creates the sources at `roots`, without reading them.
    pub(super) fn new(roots: Vec<PathBuf>) -> Self {
        Self {
            roots,
            files: BTreeMap::new(),
        }
    }

    /// Replaces what is followed. Files that are new thereby count as changed.
    pub(super) fn set_roots(&mut self, roots: Vec<PathBuf>) {
        self.roots = roots;
    }

    /// Records an event on a path. Returns whether it can concern the sources.
    pub(super) fn note(&mut self, path: &Path) -> bool {
        let Some(root) = self.root_of(path) else {
            return false;
        };
        if let Ok(below) = path.strip_prefix(root)
            && below.iter().any(|name| is_ignored(&name.to_string_lossy()))
        {
            return false;
        }
        if let Some(entry) = self.files.get_mut(path) {
            entry.stamp = None;
        }
        true
    }

    /// Returns the root that contains a path, or that is below it.
    fn root_of(&self, path: &Path) -> Option<&Path> {
        let concerned = |root: &&PathBuf| path.starts_with(root) || root.starts_with(path);
        self.roots.iter().find(concerned).map(PathBuf::as_path)
    }

    /// Reads what may have changed, and returns the files whose content has, or which were added or
    /// removed. Calls `visit` with each folder before reading its names.
    pub(super) fn rescan(&mut self, visit: &mut dyn FnMut(&Path)) -> BTreeSet<PathBuf> {
        let mut found = HashMap::new();
        for root in &self.roots {
            if root.is_dir() {
                list(root, MAX_DEPTH, &mut found, visit);
            } else if let Some(stamp) = FileStamp::of_path(root) {
                visit(root.parent().unwrap_or(root));
                found.insert(root.clone(), stamp);
            }
        }
        let mut changed = BTreeSet::new();
        self.files.retain(|path, _| {
            let is_there = found.contains_key(path);
            if !is_there {
                changed.insert(path.clone());
            }
            is_there
        });
        for (path, stamp) in found {
            let known = self.files.get(&path);
            if known.is_some_and(|known| known.stamp == Some(stamp)) {
                continue;
            }
            let Some(content) = content(&path, stamp) else {
                continue;
            };
            if known.is_none_or(|known| known.content != content) {
                changed.insert(path.clone());
            }
            let stamp = Some(stamp);
            self.files.insert(path, Entry { stamp, content });
        }
        changed
    }
}

/// Adds the files of a folder.
fn list(
    folder: &Path,
    depth: usize,
    found: &mut HashMap<PathBuf, FileStamp>,
    visit: &mut dyn FnMut(&Path),
) {
    visit(folder);
    let Ok(names) = fs::read_dir(folder) else {
        return;
    };
    for entry in names.flatten() {
        if found.len() >= MAX_FILES {
            return;
        }
        let name = entry.file_name();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if is_ignored(&name.to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        if kind.is_dir() {
            if depth > 0 {
                list(&path, depth - 1, found, visit);
            }
            continue;
        }
        // A link to a file is followed, a link to a folder is not: it may lead back here.
        let metadata = fs::metadata(&path).ok();
        if let Some(metadata) = metadata.filter(fs::Metadata::is_file) {
            found.insert(path, FileStamp::from_metadata(&metadata));
        }
    }
}

/// Returns the version of a file's content. `None` if it can't be read.
fn content(path: &Path, stamp: FileStamp) -> Option<Version> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() {
        return None;
    }
    if metadata.len() > MAX_COMPARED_BYTES {
        return Some(Version::from_content(format!("{stamp:?}").as_bytes()));
    }
    Version::read(file.take(MAX_COMPARED_BYTES)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(path, text).expect("written");
    }

    fn changed(sources: &mut Sources, folder: &Path) -> Vec<String> {
        let changed = sources.rescan(&mut |_| {});
        let name = |path: &PathBuf| {
            let below = path.strip_prefix(folder).expect("in the folder");
            below.display().to_string()
        };
        changed.iter().map(name).collect()
    }

    #[test]
    fn only_another_content_is_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        write(folder, "src/lib.rs", "one");
        write(folder, "Cargo.toml", "");
        let mut sources = Sources::new(vec![folder.to_owned()]);
        assert_eq!(changed(&mut sources, folder), ["Cargo.toml", "src/lib.rs"]);
        write(folder, "src/lib.rs", "one");
        assert!(sources.note(&folder.join("src/lib.rs")));
        assert!(changed(&mut sources, folder).is_empty());
        write(folder, "src/lib.rs", "two");
        fs::remove_file(folder.join("Cargo.toml")).expect("removed");
        assert_eq!(changed(&mut sources, folder), ["Cargo.toml", "src/lib.rs"]);
    }

    #[test]
    fn what_a_build_or_an_editor_writes_is_no_source() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let mut sources = Sources::new(vec![folder.to_owned()]);
        for name in [
            "target/release/x.d",
            "node_modules/a/index.js",
            ".git/HEAD",
            "src/.lib.rs.swp",
            "src/lib.rs~",
            "4913",
        ] {
            write(folder, name, "x");
            assert!(!sources.note(&folder.join(name)), "{name}");
        }
        assert!(changed(&mut sources, folder).is_empty());
        assert!(!sources.note(Path::new("/elsewhere/lib.rs")));
        assert!(sources.note(folder.parent().expect("a parent")));
    }

    #[test]
    fn a_link_to_a_folder_above_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        write(folder, "main.c", "");
        std::os::unix::fs::symlink(folder, folder.join("again")).expect("a link");
        let mut sources = Sources::new(vec![folder.to_owned()]);
        assert_eq!(changed(&mut sources, folder), ["main.c"]);
    }
}
