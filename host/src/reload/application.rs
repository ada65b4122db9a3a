//! Applications that are folders: which folders are, and what is in them.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::listing::Stamp;

/// A folder that holds one of these is a Python application, and answers at the folder's route.
pub(super) const MARKERS: [&str; 4] = ["app.py", "wsgi.py", "main.py", "manage.py"];

/// Files of an application that are looked at: a Django project has some hundreds.
const MAX_FILES: usize = 10_000;

/// What they take together, in bytes: as much as the largest handler's file.
const MAX_BYTES: u64 = super::MAX_HANDLER_BYTES;

/// Folders in each other.
const MAX_DEPTH: usize = 32;

/// Where packages are installed beside an application's own files. They are not looked into: when
/// something is installed, the folder's time changes.
const PACKAGES: [&str; 2] = [".packages", ".venv/lib"];

/// A file of an application.
struct Entry {
    /// Its path in the folder.
    name: PathBuf,
    metadata: Metadata,
}

/// Whether a name in an application's folder is none of its files: hidden, or what Python writes.
pub(super) fn is_ignored(name: &str) -> bool {
    name.starts_with('.') || name == "__pycache__" || name.ends_with(".pyc") || name.ends_with('~')
}

/// What changes when one of an application's files changes. Calls `visit` with each folder before
/// its names are read.
pub(super) fn stamp(folder: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<Stamp> {
    let own = fs::metadata(folder)?;
    let mut stamp = Stamp::of(&own);
    for entry in entries(folder, visit)? {
        stamp.add(&entry.name, &Stamp::of(&entry.metadata));
    }
    for name in PACKAGES {
        if let Ok(metadata) = fs::metadata(folder.join(name)) {
            stamp.add(Path::new(name), &Stamp::of(&metadata));
        }
    }
    Ok(stamp)
}

/// The paths and hashes of all files of an application: what its version is the hash of.
///
/// # Errors
///
/// A file can't be read; or there are too many, or too large ones.
pub fn manifest(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let entries = entries(folder, &mut |_| {}).context("can't be read")?;
    if entries.len() > MAX_FILES {
        bail!(
            "has more than {MAX_FILES} files, which no application may have (those in folders whose \
             names start with a dot don't count)"
        );
    }
    let bytes = entries.iter().map(|entry| entry.metadata.len());
    if bytes.fold(0, u64::saturating_add) > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        bail!("has more than {limit} MiB of files, which no application may have");
    }
    let mut manifest = Vec::new();
    for entry in entries {
        let mut hasher = blake3::Hasher::new();
        let file = File::open(folder.join(&entry.name)).and_then(|file| {
            hasher
                .update_reader(io::Read::take(file, MAX_BYTES))
                .map(drop)
        });
        match file {
            Ok(()) => {}
            // It is gone since: then it is no part of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}: can't be read", entry.name.display()));
            }
        }
        manifest.extend_from_slice(entry.name.as_os_str().as_encoded_bytes());
        manifest.push(0);
        manifest.extend_from_slice(hasher.finalize().as_bytes());
    }
    for name in PACKAGES {
        if let Ok(metadata) = fs::metadata(folder.join(name)) {
            let time = std::os::unix::fs::MetadataExt::mtime_nsec(&metadata);
            let seconds = std::os::unix::fs::MetadataExt::mtime(&metadata);
            manifest.extend_from_slice(format!("{name}\0{seconds}.{time}\0").as_bytes());
        }
    }
    Ok(manifest)
}

/// All files, sorted; one more than the limit where there are more.
fn entries(folder: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = folders.pop() {
        let path = folder.join(&below);
        visit(&path);
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if is_ignored(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let name = below.join(entry.file_name());
            // A link to a file is a file; one to a folder is not followed.
            let is_folder = entry.file_type()?.is_dir();
            if is_folder && depth < MAX_DEPTH {
                folders.push((name, depth + 1));
            } else if let Ok(metadata) = fs::metadata(folder.join(&name))
                && metadata.is_file()
            {
                found.push(Entry { name, metadata });
            }
            if found.len() > MAX_FILES {
                return Ok(found);
            }
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, content).expect("written");
        }
        folder
    }

    #[test]
    fn a_manifest_changes_with_each_file_and_with_nothing_else() {
        let folder = folder(&[
            ("app.py", "a"),
            ("lib/b.py", "b"),
            ("templates/c.html", "c"),
        ]);
        let manifest = || manifest(folder.path()).expect("it can be read");
        let before = manifest();
        for name in [
            ".hidden/x.py",
            "lib/__pycache__/b.cpython-314.pyc",
            "app.py~",
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, "x").expect("written");
        }
        assert_eq!(manifest(), before);
        fs::write(folder.path().join("app.py"), "b").expect("written");
        let changed = manifest();
        assert_ne!(changed, before);
        fs::write(folder.path().join("app.py"), "a").expect("written");
        assert_eq!(manifest(), before);
        fs::rename(
            folder.path().join("lib/b.py"),
            folder.path().join("lib/d.py"),
        )
        .expect("renamed");
        assert_ne!(manifest(), before);
        fs::create_dir(folder.path().join(".packages")).expect("made");
        assert_ne!(manifest(), changed);
    }

    #[test]
    fn a_stamp_changes_with_a_file_below_and_all_folders_are_visited() {
        let folder = folder(&[("app.py", "a"), ("lib/deep/b.py", "b")]);
        let mut visited = Vec::new();
        let before = stamp(folder.path(), &mut |path| visited.push(path.to_owned()));
        assert_eq!(visited.len(), 3);
        fs::write(folder.path().join("lib/deep/b.py"), "longer").expect("written");
        let after = stamp(folder.path(), &mut |_| {});
        assert_ne!(before.expect("a stamp"), after.expect("a stamp"));
    }

    #[test]
    fn too_much_is_refused() {
        let folder = folder(&[("app.py", "a")]);
        let large = File::create(folder.path().join("large")).expect("created");
        // Sparse: takes no room on the disk.
        large.set_len(MAX_BYTES).expect("sized");
        let error = manifest(folder.path()).expect_err("too large");
        assert!(error.to_string().contains("256 MiB of files"), "{error}");
    }
}
