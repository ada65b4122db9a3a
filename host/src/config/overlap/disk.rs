//! Paths as the file system resolves them.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The maximum number of symbolic links followed for a path that does not exist: the limit of
/// Linux.
const MAX_LINKS: usize = 40;

/// The mount points of this process (proc_pid_mountinfo(5)).
const MOUNTS: &str = "/proc/self/mountinfo";

/// The device and inode of a file; `None` if it doesn't exist.
type Identity = Option<(u64, u64)>;

/// The file system at one time. What was looked up once is not looked up again: the folders of
/// virtual hosts are compared with each other.
#[derive(Debug, Default)]
pub(super) struct FileSystem {
    pub(super) mounts: Vec<PathBuf>,
    resolved: RefCell<HashMap<PathBuf, PathBuf>>,
    identities: RefCell<HashMap<PathBuf, Identity>>,
}

impl FileSystem {
    /// Reads the mount points of this process.
    pub(super) fn new() -> Self {
        Self::with_mounts(&fs::read(MOUNTS).unwrap_or_default())
    }

    /// Creates one with these mount points, in the format of proc_pid_mountinfo(5).
    pub(super) fn with_mounts(mounts: &[u8]) -> Self {
        Self {
            mounts: mount_points(mounts),
            ..Self::default()
        }
    }

    /// Resolves a path to an absolute one without links and `..`, as far as it exists; the
    /// remaining names are kept.
    pub(super) fn resolved(&self, path: &Path) -> PathBuf {
        let mut known = self.resolved.borrow_mut();
        if let Some(found) = known.get(path) {
            return found.clone();
        }
        let found = resolved(path);
        known.insert(path.to_owned(), found.clone());
        found
    }

    /// Returns the path from `folder` to `part`, if it is inside or the same. Both are resolved.
    pub(super) fn below<'p>(&self, folder: &Path, part: &'p Path) -> Option<&'p Path> {
        let identity = self.identity(folder);
        part.ancestors()
            .find(|at| *at == folder || (identity.is_some() && self.identity(at) == identity))
            .and_then(|at| part.strip_prefix(at).ok())
    }

    fn identity(&self, path: &Path) -> Identity {
        let mut known = self.identities.borrow_mut();
        if let Some(found) = known.get(path) {
            return *found;
        }
        let metadata = fs::metadata(path).ok();
        let found = metadata.map(|metadata| (metadata.dev(), metadata.ino()));
        known.insert(path.to_owned(), found);
        found
    }
}

/// Resolves a path to an absolute one without links and `..`, as far as it exists; the remaining
/// names are kept.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(path) = fs::canonicalize(path) {
        return path;
    }
    let mut names = VecDeque::new();
    push_front(&mut names, path);
    let mut at = match std::env::current_dir() {
        Ok(current) if !path.is_absolute() => current,
        _ => PathBuf::from("/"),
    };
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        at.push(name);
        // The target of a link counts even if it does not exist.
        if let Ok(target) = fs::read_link(&at)
            && links < MAX_LINKS
        {
            links += 1;
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            push_front(&mut names, &target);
        }
    }
    at
}

/// Inserts a path's components before others.
fn push_front(names: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => names.push_front(name.into()),
            Component::ParentDir => names.push_front("..".into()),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
}

/// Parses the mount points: the fifth field of each line.
fn mount_points(mounts: &[u8]) -> Vec<PathBuf> {
    let lines = mounts.split(|&byte| byte == b'\n');
    lines
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|path| PathBuf::from(OsString::from_vec(unescaped(path))))
        .collect()
}

/// Decodes octal escapes, such as `\040` for a space and `\012` for a line end.
fn unescaped(mut bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    loop {
        match bytes {
            [] => return plain,
            [
                b'\\',
                a @ b'0'..=b'3',
                b @ b'0'..=b'7',
                c @ b'0'..=b'7',
                rest @ ..,
            ] => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                bytes = rest;
            }
            [byte, rest @ ..] => {
                plain.push(*byte);
                bytes = rest;
            }
        }
    }
}
