//! Applications in folders: which folders are applications, and their files.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::language::Language;
use crate::file_stamp::FileStamp;
use crate::regular_file::open;

/// A folder that contains this file is a JavaScript application, unless it is one in Python or has
/// the sources of a handler in another language ([`FOREIGN`]).
const PACKAGE: &str = "package.json";

/// The files of packages whose handler is built, possibly with the help of npm.
const FOREIGN: [&str; 2] = ["Cargo.toml", "go.mod"];

/// A folder that contains one of these is a Python application and answers at the folder's route.
const PYTHON: [&str; 4] = ["app.py", "wsgi.py", "main.py", "manage.py"];

/// The files that make a folder an application, for messages.
pub(crate) const MARKERS: [&str; 5] = ["app.py", "wsgi.py", "main.py", "manage.py", PACKAGE];

/// A folder in which this file contains [`SETTINGS_MARK`] is an application as well.
const SETTINGS: &str = "pyproject.toml";
const SETTINGS_MARK: &[u8] = b"tool.wasgi";

/// The number of bytes of that file that are searched: the same as for reading an application's
/// settings.
const MAX_SETTINGS_BYTES: u64 = 64 << 10;

/// The maximum number of files in an application: a Django project has some hundreds.
const MAX_FILES: usize = 10_000;

/// The maximum number of names in an application's folder, including ignored ones.
const MAX_NAMES: usize = 50_000;

/// The maximum total size of the files, in bytes: the same as for a single file.
const MAX_BYTES: u64 = super::MAX_HANDLER_BYTES;

/// The maximum nesting of folders.
const MAX_DEPTH: usize = 32;

/// The folders with installed packages next to an application's own files. Their contents are not
/// listed: an installation changes the time of the folder.
const PACKAGES: [&str; 3] = [".packages", ".venv/lib", MODULES];

/// The folder of an application's npm packages.
const MODULES: &str = "node_modules";

/// A file of an application.
struct Entry {
    /// Its path in the folder.
    name: PathBuf,
    metadata: Metadata,
}

/// Returns whether a name in an application's folder is not one of its files: hidden, written by
/// Python, or an installed package's.
pub(super) fn is_ignored(name: &str) -> bool {
    name.starts_with('.')
        || name == "__pycache__"
        || name == MODULES
        || name.ends_with(".pyc")
        || name.ends_with('~')
}

/// Returns whether a path in an application's folder belongs to the application, its installed
/// packages included.
pub(crate) fn is_application_file(relative: &str) -> bool {
    for folder in PACKAGES {
        let leads_to_it = folder.strip_prefix(relative);
        if leads_to_it.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return true;
        }
        let inside = relative.strip_prefix(folder);
        if let Some(inside) = inside.and_then(|rest| rest.strip_prefix('/')) {
            let is_ours = |name: &str| {
                name != "__pycache__"
                    && !name.ends_with(".pyc")
                    && !(folder == MODULES && name.starts_with('.'))
            };
            return inside.split('/').all(is_ours);
        }
    }
    !is_ignored(relative.rsplit('/').next().unwrap_or(relative))
}

/// Returns the folder of installed packages that a path contains, if any.
pub(crate) fn package_folder(path: &str) -> Option<&str> {
    let found = PACKAGES.iter().filter_map(|folder| {
        let at = path.find(&format!("/{folder}/"))?;
        path.get(..=at + folder.len())
    });
    found.min_by_key(|folder| folder.len())
}

/// The contents of an application's folder.
#[derive(Default)]
struct Entries {
    /// All files, sorted.
    files: Vec<Entry>,
    names: usize,
    /// An item that is neither a file nor a folder, if any: opening it could block forever.
    special: Option<PathBuf>,
}

impl Entries {
    fn are_too_many(&self) -> bool {
        self.files.len() > MAX_FILES || self.names > MAX_NAMES
    }
}

/// Returns whether a folder with these names is an application.
pub(super) fn is_application<'n>(folder: &Path, names: impl Iterator<Item = &'n OsStr>) -> bool {
    language_of(folder, names).is_some()
}

/// Returns whether a path is an application.
pub(crate) fn is_one(path: &Path) -> bool {
    language(path).is_some()
}

/// Returns the language of a script at this path, which may be a file or a folder.
pub(crate) fn script_language(path: &Path) -> Option<Language> {
    if path.is_dir() {
        return language(path);
    }
    Language::of_extension(path.extension()?.to_str()?)
}

/// Returns the language of the application in this folder. `None` if it is no application.
fn language(folder: &Path) -> Option<Language> {
    let is_there = |name: &&&str| folder.join(name).is_file();
    let all = MARKERS.iter().chain([&SETTINGS]).chain(&FOREIGN);
    let found: Vec<_> = all.filter(is_there).collect();
    language_of(folder, found.into_iter().map(OsStr::new))
}

/// Returns the language of an application with these names in its folder.
fn language_of<'n>(folder: &Path, names: impl Iterator<Item = &'n OsStr>) -> Option<Language> {
    let (mut has_settings, mut has_package, mut is_foreign) = (false, false, false);
    for name in names {
        if PYTHON.iter().any(|marker| name == *marker) {
            return Some(Language::Python);
        }
        has_settings |= name == SETTINGS;
        has_package |= name == PACKAGE;
        is_foreign |= FOREIGN.iter().any(|foreign| name == *foreign);
    }
    if has_settings && has_own_settings(folder) {
        return Some(Language::Python);
    }
    (has_package && !is_foreign).then_some(Language::JavaScript)
}

fn has_own_settings(folder: &Path) -> bool {
    let Ok(file) = open(&folder.join(SETTINGS)) else {
        return false;
    };
    let mut text = Vec::new();
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    is_file
        && file.take(MAX_SETTINGS_BYTES).read_to_end(&mut text).is_ok()
        && text
            .windows(SETTINGS_MARK.len())
            .any(|part| part == SETTINGS_MARK)
}

/// Returns a stamp that changes when one of an application's files changes. Calls `visit` with each
/// folder before reading its names.
pub(super) fn stamp(folder: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<FileStamp> {
    let own = fs::metadata(folder)?;
    let mut stamp = FileStamp::from_metadata(&own);
    for entry in entries(folder, visit)?.files {
        stamp.add(&entry.name, &FileStamp::from_metadata(&entry.metadata));
    }
    for name in PACKAGES {
        if let Ok(metadata) = fs::metadata(folder.join(name)) {
            stamp.add(Path::new(name), &FileStamp::from_metadata(&metadata));
        }
    }
    Ok(stamp)
}

/// Returns the paths and hashes of all files of an application; its version is the hash of this.
///
/// # Errors
///
/// Fails if a file can't be read, if the files are too many or too large, or if an item is neither
/// a file nor a folder.
pub(crate) fn manifest(folder: &Path) -> anyhow::Result<Vec<u8>> {
    let entries = entries(folder, &mut |_| {}).context("can't be read")?;
    if entries.are_too_many() {
        bail!(
            "has more than {MAX_FILES} files, the limit for an application (folders whose names \
             start with a dot don't count)"
        );
    }
    if let Some(special) = entries.special {
        bail!(
            "{}: neither a file nor a folder: remove it",
            special.display()
        );
    }
    let bytes = entries.files.iter().map(|entry| entry.metadata.len());
    if bytes.fold(0, u64::saturating_add) > MAX_BYTES {
        let limit = MAX_BYTES >> 20;
        bail!("has more than {limit} MiB of files, the limit for an application");
    }
    let mut manifest = Vec::new();
    for entry in entries.files {
        let hash = match hash(&folder.join(&entry.name)) {
            Ok(hash) => hash,
            // A file that has just been removed is not part of it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("{}: can't be read", entry.name.display()));
            }
        };
        manifest.extend_from_slice(entry.name.as_os_str().as_encoded_bytes());
        manifest.push(0);
        manifest.extend_from_slice(hash.as_bytes());
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

/// Returns the hash of a file. Checks its type again, because it may have been replaced.
fn hash(path: &Path) -> io::Result<blake3::Hash> {
    let file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file.take(MAX_BYTES))?;
    Ok(hasher.finalize())
}

/// Returns the contents of the folder; an incomplete list if there are too many names.
fn entries(folder: &Path, visit: &mut dyn FnMut(&Path)) -> io::Result<Entries> {
    let mut found = Entries::default();
    let mut folders = vec![(PathBuf::new(), 0)];
    while let Some((below, depth)) = folders.pop() {
        let path = folder.join(&below);
        visit(&path);
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            found.names += 1;
            if found.are_too_many() {
                return Ok(found);
            }
            if is_ignored(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let name = below.join(entry.file_name());
            // A link to a file counts as a file; links to folders are not followed.
            let is_folder = entry.file_type()?.is_dir();
            if is_folder && depth < MAX_DEPTH {
                folders.push((name, depth + 1));
            } else if let Ok(metadata) = fs::metadata(folder.join(&name)) {
                if metadata.is_file() {
                    found.files.push(Entry { name, metadata });
                } else if !metadata.is_dir() {
                    found.special = Some(name);
                }
            }
        }
    }
    found.files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

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
        // Sparse: uses no space on the disk.
        large.set_len(MAX_BYTES).expect("sized");
        let error = manifest(folder.path()).expect_err("too large");
        assert!(error.to_string().contains("256 MiB of files"), "{error}");
    }

    #[test]
    fn what_is_neither_a_file_nor_a_folder_is_named_and_not_opened() {
        let folder = folder(&[("app.py", "a")]);
        let fifo = folder.path().join("data");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .expect("made");
        // Opening it would wait for a writer.
        let error = manifest(folder.path()).expect_err("a pipe");
        assert!(
            error.to_string().starts_with("data: neither a file"),
            "{error}"
        );
        fs::rename(&fifo, folder.path().join(".data")).expect("renamed");
        manifest(folder.path()).expect("hidden names are none of it");
        assert!(hash(&folder.path().join(".data")).is_err());
    }

    #[test]
    fn names_that_are_no_files_of_it_count_as_well() {
        let folder = folder(&[("app.py", "a")]);
        let entries = |names| Entries {
            names,
            ..entries(folder.path(), &mut |_| {}).expect("it can be read")
        };
        assert!(!entries(MAX_NAMES).are_too_many());
        assert!(entries(MAX_NAMES + 1).are_too_many());
        fs::write(folder.path().join(".hidden"), "").expect("written");
        fs::create_dir(folder.path().join("empty")).expect("made");
        let found = super::entries(folder.path(), &mut |_| {}).expect("it can be read");
        assert_eq!((found.files.len(), found.names), (1, 3));
    }

    #[test]
    fn settings_make_a_folder_an_application() {
        let with = |name, text| is_one(folder(&[(name, text)]).path());
        assert!(with("app.py", "") && with("manage.py", ""));
        assert!(with(
            "pyproject.toml",
            "[tool.wasgi]\napplication = 'a:b'\n"
        ));
        assert!(!with("pyproject.toml", "[project]\nname = 'a'\n"));
        assert!(!with("other.py", ""));
    }

    #[test]
    fn a_package_is_an_application_in_javascript_unless_it_has_one_in_python() {
        let of = |files: &[(&str, &str)]| script_language(folder(files).path());
        assert_eq!(of(&[("package.json", "{}")]), Some(Language::JavaScript));
        assert_eq!(of(&[("index.js", "")]), None);
        let both = [("package.json", "{}"), ("app.py", "")];
        assert_eq!(of(&both), Some(Language::Python));
        assert_eq!(of(&[("package.json", "{}"), ("Cargo.toml", "")]), None);
        assert_eq!(
            script_language(Path::new("a/hello.mjs")),
            Some(Language::JavaScript)
        );
        assert_eq!(script_language(Path::new("a/hello.wasm")), None);
    }

    #[test]
    fn npm_packages_change_the_stamp_of_an_application_and_are_not_its_files() {
        let folder = folder(&[("package.json", "{}"), ("node_modules/a/index.js", "")]);
        let stamped = || stamp(folder.path(), &mut |_| {}).expect("a stamp");
        let version = || manifest(folder.path()).expect("a manifest");
        let (first, one) = (stamped(), version());
        fs::write(folder.path().join("node_modules/a/index.js"), "changed").expect("written");
        assert_eq!((stamped(), version()), (first, one.clone()));
        fs::create_dir(folder.path().join("node_modules/b")).expect("made");
        let modules = File::open(folder.path().join("node_modules")).expect("opened");
        // At a coarse clock the time could be the same as before.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
        modules.set_modified(later).expect("set");
        let (second, two) = (stamped(), version());
        assert_ne!(second, first);
        assert_ne!(two, one);
    }
}
