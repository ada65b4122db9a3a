//! Lists the handlers folder: names and stamps, without opening any file but `pyproject.toml`.
//!
//! Which files are handlers:
//!
//! - `*.wasm`, `*.wat` and scripts ([`Language`]), in the folder and in folders below it; [`Route`]
//!   defines the paths that they answer.
//! - Folders below the top level that contain an application in Python or JavaScript (see
//!   [`application::is_application`]).
//! - Files and folders whose name starts with `.` or `_` are ignored, as are temporary files of
//!   editors and downloads (see [`is_ignored`]). They are not reported.
//! - Folders below the top level that contain the sources of a handler, and single source files,
//!   are [projects](super::projects) if projects are built; the result of the last build is served.
//!   Otherwise, folders with sources are ignored (see
//!   [`SOURCE_MARKERS`]), and at the top level the files of a common build.
//! - A link to a file counts as a file, wherever it leads: a user who may write here decides what
//!   runs here. A link to a folder is followed if its target is within the handlers folder and
//!   doesn't contain the link: a mounted volume's `sub -> ..data/sub`.
//! - Anything else is a [`Problem`], to explain why a file has no route.
//! - [`External`] handlers are listed as if they were in the folder, and precede those in it.
//!
//! If several files have the same route, one of them is served, and each of the others is a
//! problem: `api.wasm` precedes `api/index.wasm`, then the order of [`EXTENSIONS`] decides, with a
//! folder at the end, then the first in byte order wins (`[id].wasm` before `[name].wasm`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::application;
use super::language::Language;
use crate::file_stamp::FileStamp;
use crate::registry::{Problem, ProblemKind, is_url, label};
use crate::reload::projects::{Places, Project, ProjectKind};
use crate::router::{MAX_SEGMENTS, Route, Shape};

/// A folder that contains one of these is a project, which is built elsewhere and not served.
pub(crate) const SOURCE_MARKERS: [&str; 6] = [
    "Cargo.toml",
    "pyproject.toml",
    "requirements.txt",
    "package.json",
    "go.mod",
    "Makefile",
];

/// The maximum number of names in one listing. A larger folder is probably the wrong one, and
/// listing it every few seconds would cost more than the server.
pub(crate) const MAX_ENTRIES: usize = 20_000;

/// The maximum number of unrelated files that are reported individually; the rest are counted.
pub(crate) const MAX_STRAYS: usize = 20;

/// The extensions of handlers' files, without the dot. Of files with the same route, the one whose
/// extension comes first is served, and a folder comes last.
pub(crate) const EXTENSIONS: [&str; 5] = ["wasm", "wat", "py", "js", "mjs"];

/// Returns whether a file at the top level belongs to a build of the handlers.
fn is_of_a_build(name: &str) -> bool {
    SOURCE_MARKERS.contains(&name) || name == "Cargo.lock"
}

/// The result of listing the folder once.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files to serve, one per route, sorted by file.
    pub(super) handlers: Vec<Found>,
    /// The projects to build. Empty if none are built.
    pub(super) projects: Vec<Project>,
    /// The problems, each with the file's path in the folder.
    pub(super) problems: Vec<(String, Problem)>,
    /// Files and folders that could not be inspected, by their path in the folder: earlier
    /// knowledge about them, and about everything below them, remains valid. `""` is the folder
    /// itself.
    unseen: Vec<String>,
    entries: usize,
    /// The canonical paths of the folders from the handlers folder to the current one.
    way: Vec<PathBuf>,
}

/// A handler's file.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// Its path in the folder: `users/[id].wasm`.
    pub(super) file: String,
    /// The path without the extension.
    pub(super) name: String,
    pub(super) route: Route,
    pub(super) shape: Shape,
    pub(super) stamp: FileStamp,
    /// The absolute path of what is loaded, if that is the result of a project's build or an
    /// external handler.
    pub(super) artifact: Option<PathBuf>,
}

/// A folder to list, and its name in messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Folder<'a> {
    /// Absolute.
    pub(super) path: &'a Path,
    /// As configured.
    pub(super) given: &'a Path,
    /// Where the results of builds are, if projects are built.
    pub(super) builds: Option<&'a Places>,
    /// The handlers that are not in it.
    pub(super) external: &'a [External],
}

/// A handler whose file is not in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct External {
    /// Its name, from which its route follows.
    pub(crate) name: String,
    /// The URL that stands for it in messages. It must change when the file does.
    pub(crate) shown: String,
    /// The absolute path of its file.
    pub(crate) path: PathBuf,
}

/// Lists the folder and everything below it. Calls `visit` with each folder before reading its
/// names, so that a watch that starts there misses nothing.
pub(super) fn list(folder: Folder<'_>, visit: &mut dyn FnMut(&Path)) -> Listing {
    let mut listing = Listing::default();
    let real = fs::canonicalize(folder.path).unwrap_or_else(|_| folder.path.to_owned());
    listing.enter(folder, "", real, visit);
    listing.add_external(folder);
    listing.limit_strays(folder);
    listing.settle_conflicts(folder);
    listing.handlers.sort_by(|a, b| a.file.cmp(&b.file));
    listing
}

/// Returns whether to ignore a name silently: hidden, disabled, or a temporary file of an editor or
/// a download.
pub(super) fn is_ignored(name: &str) -> bool {
    const PASSING: [&str; 8] = [
        "~",
        ".tmp",
        ".part",
        ".swp",
        ".swx",
        ".crdownload",
        "___jb_tmp___",
        "___jb_old___",
    ];
    // Vim tests whether a folder is writable by creating a file named 4913.
    name.starts_with(['.', '_', '#'])
        || name == "4913"
        || PASSING.iter().any(|ending| name.ends_with(ending))
}

/// Returns the folders in a handlers folder that are applications, sorted.
pub(crate) fn applications(folder: &Path) -> Vec<PathBuf> {
    let given = Folder {
        path: folder,
        given: folder,
        builds: None,
        external: &[],
    };
    let handlers = list(given, &mut |_| {}).handlers;
    let folders = handlers.iter().filter(|found| found.is_folder());
    folders.map(|found| folder.join(&found.file)).collect()
}

/// Returns the handlers in a handlers folder, files and folders, by their paths in it; and what is
/// wrong with the others.
pub(crate) fn handler_files(folder: &Path) -> (Vec<String>, Vec<String>) {
    let given = Folder {
        path: folder,
        given: folder,
        builds: None,
        external: &[],
    };
    let listing = list(given, &mut |_| {});
    let handlers = listing.handlers.into_iter().map(|found| found.file);
    let problems = listing.problems.iter();
    let problems = problems.map(|(_, problem)| problem.to_string());
    (handlers.collect(), problems.collect())
}

/// Returns the projects in a handlers folder.
pub(crate) fn find_projects(folder: &Path, builds: &Places) -> Vec<Project> {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let given = Folder {
        path: &path,
        given: folder,
        builds: Some(builds),
        external: &[],
    };
    list(given, &mut |_| {}).projects
}

/// Returns the languages of the scripts in a handlers folder.
pub(crate) fn scripts(folder: &Path) -> Vec<Language> {
    let given = Folder {
        path: folder,
        given: folder,
        builds: None,
        external: &[],
    };
    let handlers = list(given, &mut |_| {}).handlers;
    let languages = handlers.iter().map(|found| folder.join(&found.file));
    languages
        .filter_map(|path| application::script_language(&path))
        .collect()
}

impl Listing {
    /// Returns whether this listing has no information about `file`.
    pub(super) fn is_unseen(&self, file: &str) -> bool {
        self.unseen.iter().any(|unseen| {
            let below = file.strip_prefix(unseen.as_str());
            unseen.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    fn enter(
        &mut self,
        folder: Folder<'_>,
        below: &str,
        real: PathBuf,
        visit: &mut dyn FnMut(&Path),
    ) {
        let depth = self.way.len();
        let path = folder.path.join(below);
        visit(&path);
        let names = match read_names(&path) {
            Ok(names) => names,
            Err(error) => return self.unreadable_folder(folder, below, &error),
        };
        let all = names.iter().map(|name| name.as_os_str());
        if depth > 0 && application::is_application(&path, all.clone()) {
            if folder.builds.is_some()
                && let Some(kind) = ProjectKind::of_package(&path)
            {
                self.project(folder, below, below, kind);
            }
            return self.application(folder, below, visit);
        }
        if depth > 0
            && folder.builds.is_some()
            && let Some(kind) = ProjectKind::of_folder(&all)
        {
            return self.project(folder, below, below, kind);
        }
        let is_marker = |name: &PathBuf| SOURCE_MARKERS.iter().any(|m| name.as_os_str() == *m);
        if depth > 0 && names.iter().any(is_marker) {
            return;
        }
        self.way.push(real);
        for name in names {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                self.too_many(folder);
                break;
            }
            self.look_at(folder, below, &name, visit);
        }
        self.way.pop();
    }

    fn look_at(
        &mut self,
        folder: Folder<'_>,
        below: &str,
        name: &Path,
        visit: &mut dyn FnMut(&Path),
    ) {
        let Some(text) = name.to_str() else {
            let shown = format!("{below}/{}", name.display());
            let text = "the name is not UTF-8, so it has no route: rename it";
            return self.problem(
                folder,
                shown.trim_start_matches('/'),
                ProblemKind::BadRoute,
                text,
            );
        };
        if is_ignored(text) || (below.is_empty() && is_of_a_build(text)) {
            return;
        }
        let file = match below {
            "" => text.to_owned(),
            _ => format!("{below}/{text}"),
        };
        match look(&folder.path.join(&file), name, &self.way) {
            Ok(Look::Folder(_)) if self.way.len() > MAX_SEGMENTS => {
                let text = format!("more than {MAX_SEGMENTS} folders deep: ignored");
                self.problem(folder, &file, ProblemKind::BadRoute, &text);
            }
            Ok(Look::Folder(real)) => self.enter(folder, &file, real, visit),
            Ok(Look::File(stamp)) => self.file(folder, file, stamp),
            Ok(Look::Gone) => {}
            Ok(Look::Other(what)) => {
                let text = format!("{what}: not served");
                self.problem(folder, &file, ProblemKind::NotAHandler, &text);
            }
            Err(error) => {
                let text = format!("can't be inspected: {error}");
                self.problem(folder, &file, ProblemKind::Unreadable, &text);
                self.unseen.push(file);
            }
        }
    }

    fn file(&mut self, folder: Folder<'_>, file: String, stamp: FileStamp) {
        let stem = |extension: &&str| file.strip_suffix(*extension)?.strip_suffix('.');
        let Some(stem) = EXTENSIONS.iter().find_map(stem) else {
            if let Some((stem, extension)) = file.rsplit_once('.')
                && folder.builds.is_some()
                && let Some(kind) = ProjectKind::of_extension(extension)
            {
                let (file, name) = (file.clone(), stem.to_owned());
                return self.project(folder, &file, &name, kind);
            }
            let text = not_a_handler(&file);
            return self.problem(folder, &file, ProblemKind::NotAHandler, &text);
        };
        let name = stem.to_owned();
        self.found(folder, file, name, stamp, None);
    }

    /// Adds a project, and the result of its last build.
    fn project(&mut self, folder: Folder<'_>, file: &str, name: &str, kind: ProjectKind) {
        let Some(builds) = folder.builds else { return };
        self.projects.push(Project {
            file: file.to_owned(),
            path: folder.path.join(file),
            kind,
        });
        let artifact = builds.artifact(file);
        if kind.has_artifact()
            && let Some(stamp) = FileStamp::of_path(&artifact)
        {
            self.found(
                folder,
                file.to_owned(),
                name.to_owned(),
                stamp,
                Some(artifact),
            );
        }
    }

    /// Adds the handlers that are not in the folder.
    fn add_external(&mut self, folder: Folder<'_>) {
        for one in folder.external {
            let (file, name) = (one.shown.clone(), one.name.clone());
            match FileStamp::of_path(&one.path) {
                Some(stamp) => self.found(folder, file, name, stamp, Some(one.path.clone())),
                // A version that is loaded needs its file no more.
                None => self.unseen.push(file),
            }
        }
    }

    /// Adds a folder that is one handler.
    fn application(&mut self, folder: Folder<'_>, below: &str, visit: &mut dyn FnMut(&Path)) {
        match application::stamp(&folder.path.join(below), visit) {
            Ok(stamp) => self.found(folder, below.to_owned(), below.to_owned(), stamp, None),
            Err(error) => self.unreadable_folder(folder, below, &error),
        }
    }

    fn found(
        &mut self,
        folder: Folder<'_>,
        file: String,
        name: String,
        stamp: FileStamp,
        artifact: Option<PathBuf>,
    ) {
        match Route::parse(&name) {
            Ok(route) => self.handlers.push(Found {
                name,
                shape: route.shape(),
                route,
                file,
                stamp,
                artifact,
            }),
            Err(why) => self.problem(folder, &file, ProblemKind::BadRoute, &why.to_string()),
        }
    }

    /// Removes every file whose route belongs to a file with precedence.
    fn settle_conflicts(&mut self, folder: Folder<'_>) {
        self.handlers
            .sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        let mut taken: HashMap<Shape, String> = HashMap::new();
        let built: HashSet<String> = self
            .handlers
            .iter()
            .filter(|found| found.artifact.is_some() && !is_url(&found.file))
            .map(|found| format!("{}.wasm", found.name))
            .collect();
        for found in std::mem::take(&mut self.handlers) {
            match taken.get(&found.shape) {
                // What `wasgi build` made of the project is older than the project.
                Some(_) if found.artifact.is_none() && built.contains(&found.file) => {}
                Some(winner) => {
                    let winner = label(folder.given, Path::new(winner));
                    let loser = label(folder.given, Path::new(&found.file));
                    let problem = Problem::conflict(loser, &found.route, &winner);
                    self.problems.push((found.file, problem));
                }
                None => {
                    taken.insert(found.shape.clone(), found.file.clone());
                    self.handlers.push(found);
                }
            }
        }
    }

    fn problem(&mut self, folder: Folder<'_>, file: &str, kind: ProblemKind, text: &str) {
        let label = label(folder.given, Path::new(file));
        self.problems
            .push((file.to_owned(), Problem::new(label, kind, text)));
    }

    fn unreadable_folder(&mut self, folder: Folder<'_>, below: &str, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            if below.is_empty() {
                let text = "no such folder: its handlers are served once it exists";
                self.problem(folder, below, ProblemKind::Unreadable, text);
            }
            return;
        }
        let text = format!("can't be read: {error}");
        self.problem(folder, below, ProblemKind::Unreadable, &text);
        self.unseen.push(below.to_owned());
    }

    fn too_many(&mut self, folder: Folder<'_>) {
        if self.entries == MAX_ENTRIES + 1 {
            let text = format!(
                "more than {MAX_ENTRIES} names, the rest is ignored: is this the right folder?"
            );
            self.problem(folder, "", ProblemKind::Unreadable, &text);
            self.unseen.push(String::new());
        }
    }

    /// Keeps the first few unrelated files, and counts the others.
    fn limit_strays(&mut self, folder: Folder<'_>) {
        let mut strays = 0;
        self.problems.retain(|(_, problem)| {
            strays += usize::from(problem.kind == ProblemKind::NotAHandler);
            problem.kind != ProblemKind::NotAHandler || strays <= MAX_STRAYS
        });
        if strays > MAX_STRAYS {
            let text = format!("{} more files that are not handlers", strays - MAX_STRAYS);
            self.problem(folder, "", ProblemKind::NotAHandler, &text);
        }
    }
}

/// Says what to do about an unrelated file: for a source file, the command to build it.
fn not_a_handler(file: &str) -> String {
    let (_, name) = file.rsplit_once('/').unwrap_or(("", file));
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let built = file.rsplit_once('.').map_or(file, |(built, _)| built);
    let built = format!("{built}.wasm");
    let (what, command) = match extension.to_ascii_lowercase().as_str() {
        "wasm" | "wat" | "py" | "js" | "mjs" => {
            return "not a handler: write the extension in lower case".to_owned();
        }
        "html" | "htm" | "css" | "svg" | "png" | "jpg" | "ico" => {
            return "not a handler: pages and what they load go into the folder of pages"
                .to_owned();
        }
        "rs" => (
            "Rust",
            format!("cargo new --lib {stem}, and cargo xtask build {stem} (README.md)"),
        ),
        "go" => (
            "Go",
            format!("GOOS=wasip1 GOARCH=wasm go build -o {built} {file}"),
        ),
        "c" => (
            "C",
            format!("clang --target=wasm32-wasi -Os -o {built} {file}"),
        ),
        "cc" | "cpp" | "cxx" => (
            "C++",
            format!("clang++ --target=wasm32-wasi -fno-exceptions -Os -o {built} {file}"),
        ),
        "ts" | "cjs" => {
            let script = file.rsplit_once('.').map_or(file, |(built, _)| built);
            (
                "TypeScript or CommonJS",
                format!("esbuild {file} --bundle --format=esm --outfile={script}.js"),
            )
        }
        _ => {
            return "not a handler (.wasm, .wat, .py or .js): move it out or start its name with '_'"
                .to_owned();
        }
    };
    format!("source code in {what}, not a handler: build it: {command}")
}

impl Found {
    /// Returns whether it is an application in a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.name == self.file && self.artifact.is_none()
    }

    /// Returns a sort key: of the files with the same route, the one with the least key is served.
    fn precedence(&self) -> (bool, bool, usize, &str) {
        let extension = match self.is_folder() {
            true => "",
            false => self
                .file
                .rsplit_once('.')
                .map_or("", |(_, extension)| extension),
        };
        let place = EXTENSIONS.iter().position(|known| extension == *known);
        let kind = place.unwrap_or(EXTENSIONS.len());
        let is_built = self.artifact.is_some();
        (self.route.is_index(), !is_built, kind, &self.file)
    }
}

enum Look {
    /// The canonical path.
    Folder(PathBuf),
    File(FileStamp),
    /// It has just disappeared.
    Gone,
    /// Neither; the text says what it is.
    Other(&'static str),
}

/// Inspects `name` in the folder that is last in `way`.
fn look(path: &Path, name: &Path, way: &[PathBuf]) -> io::Result<Look> {
    let gone_or = |error: io::Error, gone| match error.kind() {
        io::ErrorKind::NotFound => Ok(gone),
        _ => Err(error),
    };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return gone_or(error, Look::Gone),
    };
    if metadata.is_dir() {
        let real = way
            .last()
            .map_or_else(|| path.into(), |folder| folder.join(name));
        return Ok(Look::Folder(real));
    }
    let target = match metadata.is_symlink() {
        true => match fs::metadata(path) {
            Ok(target) => target,
            Err(error) => return gone_or(error, Look::Other("a broken symbolic link")),
        },
        false => metadata,
    };
    Ok(if target.is_file() {
        Look::File(FileStamp::from_metadata(&target))
    } else if target.is_dir() {
        match fs::canonicalize(path) {
            Ok(real) => follow(real, way),
            Err(error) => return gone_or(error, Look::Gone),
        }
    } else {
        Look::Other("not a regular file")
    })
}

/// Resolves a link to a folder.
fn follow(real: PathBuf, way: &[PathBuf]) -> Look {
    let leads_back = |folder: &PathBuf| folder.starts_with(&real);
    if !way
        .first()
        .is_some_and(|handlers| real.starts_with(handlers))
    {
        Look::Other("a symbolic link to a folder outside of this one")
    } else if way.iter().any(leads_back) {
        Look::Other("a symbolic link to a parent folder")
    } else {
        Look::Folder(real)
    }
}

/// Returns the names in a folder, sorted, so that repeated listings agree.
fn read_names(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    // One more than the limit shows that there are too many.
    for entry in fs::read_dir(path)?.take(MAX_ENTRIES + 1) {
        names.push(PathBuf::from(entry?.file_name()));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests;
