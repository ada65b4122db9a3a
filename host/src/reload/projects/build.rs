//! Builds one project: the command for its kind, and what became of it.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};

use super::kind::ProjectKind;
use super::last_line::LastLine;
use super::places::{self, Places};
use super::process::{self, Ended};
use super::project::Project;
use super::sharing::BuildSharing;
use super::{cargo, failed, npm, output, toolchain};
use crate::reload::CancelToken;

/// The ending of the file, beside an artifact, to which a compiler of C writes what it has read.
const DEPENDED: &str = ".d";

/// The interval of attempts to lock the target folder, while another process builds.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// How builds run.
#[derive(Clone, Debug)]
pub(crate) struct BuildOptions {
    pub(crate) places: Places,
    /// The virtual host that the projects belong to.
    pub(crate) host: Option<String>,
    /// What it has in common with other sites that are built in this process.
    pub(crate) sharing: BuildSharing,
    /// Whether compilers write colours.
    pub(crate) colours: bool,
    /// Whether programs get the debugging information with which the lines of a stack are found.
    pub(crate) has_lines: bool,
    /// The time limit of one build.
    pub(crate) max_time: Duration,
    /// Receives the last line that the command has written, while it runs.
    pub(crate) progress: Option<LastLine>,
}

/// The result of a build.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    /// What the compiler wrote to standard error, with its colours: warnings and errors.
    pub(crate) output: String,
    pub(crate) took: Duration,
}

impl Report {
    /// Returns the report of a build that could not be started.
    pub(super) fn failed(reason: String) -> Self {
        Self {
            outcome: Outcome::Failed(reason),
            output: String::new(),
            took: Duration::ZERO,
        }
    }
}

/// What became of a build.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The artifact exists.
    Built,
    /// Why it failed, in one line.
    Failed(String),
    /// It was cancelled.
    Cancelled,
}

/// The command of a build, and where its result is.
struct Plan {
    command: Command,
    manifest: Option<PathBuf>,
    /// The file that the command writes; renamed afterwards.
    writes: PathBuf,
}

/// Builds a project. If that succeeds, its artifact is replaced as a whole.
pub(crate) fn build(project: &Project, options: &BuildOptions, cancel: &CancelToken) -> Report {
    let begun = Instant::now();
    let mut report = Report {
        outcome: Outcome::Cancelled,
        output: String::new(),
        took: Duration::ZERO,
    };
    report.outcome = match attempt(project, options, cancel, &mut report) {
        _ if cancel.is_cancelled() => Outcome::Cancelled,
        Ok(()) => Outcome::Built,
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    report.took = begun.elapsed();
    report
}

fn attempt(
    project: &Project,
    options: &BuildOptions,
    cancel: &CancelToken,
    report: &mut Report,
) -> anyhow::Result<()> {
    let kind = project.kind;
    let artifact = options.places.artifact(&project.file);
    let folder = artifact.parent().unwrap_or(&artifact);
    places::create(folder).with_context(|| format!("{}: can't be made", folder.display()))?;
    let mut plan = plan(project, options, &artifact)?;
    let _lock = match kind.is_of_cargo() {
        true => Some(lock(&options.places.lock(), cancel)?),
        false => None,
    };
    let finished = process::run(
        &mut plan.command,
        cancel,
        options.max_time,
        options.progress.as_ref(),
    )
    .map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!(
            "{} is not installed: {}",
            kind.program(),
            toolchain::install(kind)
        ),
        _ => anyhow!(error).context(format!("{} can't be started", kind.program())),
    })?;
    report.output = finished.errors;
    if !kind.is_of_cargo() {
        // Others write to both, and what is an error is not always in the second one.
        report.output.insert_str(0, &finished.output);
    }
    match finished.ended {
        Ended::Cancelled => return Ok(()),
        Ended::TimedOut => bail!("the build takes longer than {:?}", options.max_time),
        Ended::Exited(status) if !status.success() => {
            let reason = toolchain::advice(kind, &report.output)
                .or_else(|| output::first_error(&report.output))
                .unwrap_or_else(|| format!("{} ended with {status}", kind.program()));
            bail!(reason);
        }
        Ended::Exited(_) => {}
    }
    if let Some(manifest) = &plan.manifest {
        let program = cargo::artifact(&finished.output, manifest)?;
        fs::copy(&program, &plan.writes)
            .with_context(|| format!("{}: can't be copied", program.display()))?;
    }
    // Before the artifact, which tells other processes that the build has succeeded.
    failed::remove(&options.places, &project.file);
    if kind.has_artifact() {
        publish(project, &plan.writes, &artifact)?;
    }
    Ok(())
}

/// Moves the result of a build into place.
fn publish(project: &Project, written: &Path, artifact: &Path) -> anyhow::Result<()> {
    let is_there = fs::metadata(written).is_ok_and(|file| file.is_file() && file.len() > 0);
    if !is_there {
        bail!(match project.kind {
            ProjectKind::Make =>
                "its Makefile wrote no program to the file that the variable OUT names",
            _ => "the compiler wrote no program",
        });
    }
    fs::rename(written, artifact)
        .with_context(|| format!("{}: can't be written", artifact.display()))
}

/// Locks a file: other processes that serve the site wait for each other.
fn lock(path: &Path, cancel: &CancelToken) -> anyhow::Result<File> {
    let shown = path.display();
    let file = File::create(path).with_context(|| format!("{shown}: can't be opened"))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if !cancel.is_cancelled() => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(TryLockError::WouldBlock) => bail!("cancelled"),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("{shown}: can't be locked"));
            }
        }
    }
}

/// Returns the command that builds a project. All paths in it are absolute, so that none is taken
/// for a flag.
fn plan(project: &Project, options: &BuildOptions, artifact: &Path) -> anyhow::Result<Plan> {
    let path = &project.path;
    let folder = match project.kind.is_folder() {
        true => path.as_path(),
        false => path.parent().unwrap_or(path),
    };
    let mut command = Command::new(project.kind.program());
    command.current_dir(folder);
    let mut plan = Plan {
        command,
        manifest: None,
        writes: with_ending(artifact, ".new"),
    };
    // What an earlier build left must not be taken for the result of this one.
    let _ = fs::remove_file(&plan.writes);
    match project.kind {
        ProjectKind::Cargo => plan.cargo(path.join("Cargo.toml"), options),
        ProjectKind::RustFile => {
            let manifest = cargo::generate(&options.places, &project.file, path)?;
            plan.cargo(manifest, options);
        }
        ProjectKind::Go => plan.go(Path::new(".")),
        ProjectKind::GoFile => plan.go(path),
        ProjectKind::CFile => {
            plan.command
                .args(["--target=wasm32-wasi", "-Os", "-Wall", "-MMD", "-MF"])
                .arg(with_ending(artifact, DEPENDED))
                .arg("-o")
                .arg(&plan.writes)
                .arg(path);
            if options.colours {
                plan.command.arg("-fcolor-diagnostics");
            }
            if options.has_lines {
                plan.command.arg("-gline-tables-only");
            }
        }
        ProjectKind::Make => {
            let mut out = std::ffi::OsString::from("OUT=");
            out.push(&plan.writes);
            plan.command.arg("--no-print-directory").arg(out);
        }
        ProjectKind::Npm => {
            plan.command.args(["run", "--silent", "build"]);
        }
    }
    let colours = if options.colours { "1" } else { "0" };
    plan.command
        .env("CLICOLOR_FORCE", colours)
        .env("FORCE_COLOR", colours);
    Ok(plan)
}

impl Plan {
    fn cargo(&mut self, manifest: PathBuf, options: &BuildOptions) {
        let colours = if options.colours { "always" } else { "never" };
        self.command
            .args(["build", "--release", "--target", toolchain::RUST_TARGET])
            .args(["--message-format=json-render-diagnostics", "--color"])
            .args([colours, "--target-dir"])
            .arg(options.places.target())
            .arg("--manifest-path")
            .arg(&manifest)
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("CARGO_BUILD_TARGET_DIR");
        if options.has_lines {
            self.command
                .env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only")
                .env("CARGO_PROFILE_RELEASE_STRIP", "none");
        }
        self.manifest = Some(manifest);
    }

    fn go(&mut self, package: &Path) {
        self.command
            .args(["build", "-buildvcs=false", "-o"])
            .arg(&self.writes)
            .arg(package)
            .envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("CGO_ENABLED", "0")]);
    }
}

/// Returns the files and folders that a project consists of: its own, and what it depends on by
/// path. `None` if that is unknown.
pub(super) fn roots(
    project: &Project,
    options: &BuildOptions,
    cancel: &CancelToken,
) -> Option<Vec<PathBuf>> {
    let own = || project.path.clone();
    match project.kind {
        ProjectKind::Cargo => cargo::roots(&project.path.join("Cargo.toml"), cancel),
        ProjectKind::Go => {
            let module = fs::read_to_string(project.path.join("go.mod")).ok()?;
            let replaced = module.lines().filter_map(|line| {
                let (_, to) = line.split_once("=>")?;
                let to = to.trim();
                to.starts_with('.').then(|| project.path.join(to))
            });
            Some(std::iter::once(own()).chain(replaced).collect())
        }
        ProjectKind::CFile => {
            let artifact = options.places.artifact(&project.file);
            let text = fs::read_to_string(with_ending(&artifact, DEPENDED)).ok()?;
            Some(std::iter::once(own()).chain(depended(&text)).collect())
        }
        ProjectKind::Npm => {
            let paths = npm::path_dependencies(&project.path);
            Some(std::iter::once(own()).chain(paths).collect())
        }
        ProjectKind::RustFile | ProjectKind::GoFile | ProjectKind::Make => None,
    }
}

fn with_ending(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Returns the files in a rule in make's format, as compilers write it: `target: file file \`, with
/// a backslash before a space in a name.
fn depended(rule: &str) -> Vec<PathBuf> {
    let Some((_, files)) = rule.split_once(": ") else {
        return Vec::new();
    };
    let mut names = vec![String::new()];
    let mut characters = files.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        let last = names.len() - 1;
        match (character, next) {
            ('\\', Some('\n')) => {}
            ('\\', Some(escaped @ (' ' | '#'))) | ('$', Some(escaped @ '$')) => {
                names[last].push(escaped);
                characters.next();
            }
            (' ' | '\n' | '\t', _) => names.push(String::new()),
            (other, _) => names[last].push(other),
        }
    }
    names.retain(|name| name.starts_with('/'));
    names.into_iter().map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_a_compiler_has_read_are_known() {
        let rule = "/out/a.wasm: /site/my\\ app.c /site/a.h \\\n  /site/$$b.h\nx.h: rest";
        let names = ["/site/my app.c", "/site/a.h", "/site/$b.h"];
        assert_eq!(depended(rule), names.map(PathBuf::from));
        assert!(depended("").is_empty());
    }
}
