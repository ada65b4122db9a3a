//! Projects for commands that run handlers without a server: built when they are needed.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::interrupt::cancellable;
use super::site::find_handler;
use crate::config::Config;
use crate::printable;
use crate::reload::projects::{
    self, BuildOptions, BuildSharing, MAX_BUILD_TIME, Outcome, Project, Projects,
};
use crate::reload::{self, CancelToken};
use crate::terminal;

/// The interval of showing that a build is in progress, on a terminal.
const PROGRESS: Duration = Duration::from_secs(1);

/// Clears the terminal's current line (ECMA-48, EL).
const CLEAR_LINE: &str = "\r\x1b[K";

/// A handler that is ready to be loaded.
#[derive(Clone, Debug)]
pub(super) struct Ready {
    /// The path that its route follows from.
    pub(super) file: PathBuf,
    /// The path to load.
    pub(super) path: PathBuf,
}

/// Starts to build the projects of a site, of this virtual host if it is one, if its operator says
/// so. `sharing` is common to the sites of this process.
///
/// # Errors
///
/// Fails if the user has no cache folder.
pub(super) fn start(
    config: &Config,
    host: Option<&str>,
    has_lines: bool,
    sharing: &BuildSharing,
) -> anyhow::Result<Option<Projects>> {
    if !config.site.build {
        return Ok(None);
    }
    let options = BuildOptions {
        host: host.map(str::to_owned),
        sharing: sharing.clone(),
        ..options(config, has_lines)?
    };
    Ok(Some(Projects::new(options)))
}

/// Returns how the projects of a site are built: for a developer, with the debugging information
/// that `has_lines` stands for.
///
/// # Errors
///
/// Fails if the user has no cache folder.
pub(super) fn options(config: &Config, has_lines: bool) -> anyhow::Result<BuildOptions> {
    let places = config.site.builds().context(
        "projects can't be built: neither HOME nor XDG_CACHE_HOME says where the user's cache is",
    )?;
    Ok(BuildOptions {
        places,
        host: None,
        sharing: BuildSharing::default(),
        colours: terminal::has_colours(&io::stderr()),
        has_lines,
        max_time: MAX_BUILD_TIME,
        progress: None,
    })
}

/// Finds a handler as [`find_handler`] does. If no handler but a project has this path or name,
/// builds the project.
///
/// # Errors
///
/// Fails if there is neither, or if the project can't be built.
pub(super) fn find_or_build(handler: &Path, config: &Config) -> anyhow::Result<Ready> {
    let project = find_named(handler, config).filter(|project| project.kind.has_artifact());
    let found = find_handler(handler, config.site.handlers());
    let is_source = |path: &Path| {
        let path = std::path::absolute(path).ok();
        project
            .as_ref()
            .is_some_and(|project| Some(&project.path) == path.as_ref())
    };
    match (found, &project) {
        (Ok(path), _) if !is_source(&path) => {
            let file = path.clone();
            Ok(Ready { file, path })
        }
        (_, Some(project)) => {
            let path = build(project, &options(config, true)?)?;
            let file = config.site.handlers().join(&project.file);
            Ok(Ready { file, path })
        }
        (found, None) => found.map(|path| {
            let file = path.clone();
            Ready { file, path }
        }),
    }
}

/// Returns the project that is meant by a path or a name, unless that is a file that is finished.
pub(super) fn find_source(handler: &Path, config: &Config) -> Option<Project> {
    let is_finished = handler.is_file()
        && handler
            .extension()
            .is_some_and(|extension| extension == "wasm");
    find_named(handler, config).filter(|_| !is_finished)
}

/// Returns the project at a path, or of a name in the handlers folder.
fn find_named(handler: &Path, config: &Config) -> Option<Project> {
    let projects = all(config);
    let absolute = std::path::absolute(handler).ok();
    let is_it = |project: &&Project| {
        let file = Path::new(&project.file);
        Some(&project.path) == absolute.as_ref()
            || file == handler
            || !project.kind.is_folder() && file.with_extension("") == handler
    };
    projects.iter().find(is_it).cloned()
}

/// Returns the projects of a site.
fn all(config: &Config) -> Vec<Project> {
    let Some(places) = config.site.builds() else {
        return Vec::new();
    };
    reload::find_projects(config.site.handlers(), &places)
}

/// Builds all projects of a site that have no `.wasm` file beside them. Returns the result of each,
/// by its path in the handlers folder.
///
/// # Errors
///
/// Fails if one of them can't be built.
pub(super) fn build_all(config: &Config) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let mut projects = all(config);
    projects.retain(|project| {
        let name = match project.kind.is_folder() {
            true => project.path.clone(),
            false => project.path.with_extension(""),
        };
        let mut built = name.into_os_string();
        built.push(".wasm");
        project.kind.has_artifact() && !Path::new(&built).is_file()
    });
    let mut built = BTreeMap::new();
    for project in projects {
        let artifact = build(&project, &options(config, true)?)?;
        built.insert(project.file, artifact);
    }
    Ok(built)
}

/// Does some work, and says on a terminal what is being built if it takes long.
fn with_progress<T>(file: &str, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let file = printable::one_line(file);
    let (done, is_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let begun = Instant::now();
        scope.spawn(move || {
            let mut was_shown = false;
            while is_done.recv_timeout(PROGRESS) == Err(RecvTimeoutError::Timeout) {
                eprint!("\rbuilding {file}… {} s", begun.elapsed().as_secs());
                was_shown = true;
            }
            if was_shown {
                eprint!("{CLEAR_LINE}");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Builds a project, and shows what its compiler says. Returns the file that it results in.
///
/// # Errors
///
/// Fails if it can't be built.
pub(super) fn build(project: &Project, options: &BuildOptions) -> anyhow::Result<PathBuf> {
    let build = |cancel: &CancelToken| projects::build(project, options, cancel);
    let report = with_progress(&project.file, || cancellable(build));
    if !report.output.trim().is_empty() {
        let shown = match options.colours {
            true => projects::coloured(&report.output),
            false => projects::plain(&report.output),
        };
        eprintln!("{}", shown.trim_end());
    }
    match report.outcome {
        Outcome::Built => Ok(options.places.artifact(&project.file)),
        Outcome::Failed(reason) => bail!("{}: not built: {reason}", project.path.display()),
        Outcome::Cancelled => bail!("{}: not built: cancelled", project.path.display()),
    }
}
