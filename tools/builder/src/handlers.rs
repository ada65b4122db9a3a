//! Builds handlers in Rust, C and Go.
//!
//! They are built for their own target and profile in a separate target folder, since their
//! toolchain may differ from the host's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use processes::step;
use serde_json::Value;

use crate::install::install;
use crate::toolchain::{CommandToolchains, Compile, GuestToolchain, TARGET};
use crate::tracked;
use crate::workspace::{Demo, HANDLERS, Workspace};

/// The profile in the workspace's manifest that handlers are built with.
const PROFILE: &str = "guest";

/// The package that Rust handlers are written with.
const SDK: &str = "wasgi-sdk";

/// The profile's settings, for packages outside the workspace: cargo reads profiles only from a
/// workspace's root manifest.
const PROFILE_SETTINGS: [&str; 6] = [
    "inherits = \"release\"",
    "opt-level = \"s\"",
    "lto = \"fat\"",
    "codegen-units = 1",
    "panic = \"abort\"",
    "strip = true",
];

/// The handlers that were built, and those that failed.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// Each file in `handlers/` with the folder of its sources, relative to the repository's root.
    pub(crate) files: Vec<(PathBuf, PathBuf)>,
    /// One line for each handler that was not built.
    pub(crate) failures: Vec<String>,
}

/// Builds the site's Rust handlers that `wanted` selects to `handlers/<route>.wasm`. A handler that
/// fails to build doesn't prevent the others from being built.
///
/// # Errors
///
/// Fails if cargo can't be started, or a file can't be written.
pub(crate) fn build_demos(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    demos: &[Demo],
) -> Result<Built> {
    let mut built = Built::default();
    let (members, own): (Vec<&Demo>, Vec<&Demo>) = demos.iter().partition(|demo| demo.is_member);
    let mut artifacts = Vec::new();
    if !members.is_empty() {
        step(format!(
            "building {} handlers of the workspace",
            members.len()
        ));
    }
    for packages in commands_of(&members) {
        let mut selection = vec!["--lib", "--keep-going"];
        selection.extend(packages.iter().flat_map(|package| ["--package", *package]));
        artifacts.extend(build_some(workspace, toolchain, &selection)?);
    }
    for demo in own {
        step(format!("building {}", workspace.shown(demo.folder())));
        lend_lock(workspace, demo)?;
        let manifest = demo.manifest.to_string_lossy();
        let settings = PROFILE_SETTINGS.map(|setting| format!("profile.{PROFILE}.{setting}"));
        let mut selection = vec!["--lib", "--manifest-path", &*manifest];
        selection.extend(settings.iter().flat_map(|setting| ["--config", setting]));
        artifacts.extend(build_some(workspace, toolchain, &selection)?);
    }
    for demo in demos {
        let source = workspace.shown(demo.folder());
        let artifact = artifacts
            .iter()
            .find(|artifact| artifact.manifest == demo.manifest);
        let Some(artifact) = artifact else {
            let package = &demo.package;
            built
                .failures
                .push(format!("{source}: package {package} does not build"));
            continue;
        };
        let place = Path::new(HANDLERS).join(format!("{}.wasm", demo.route));
        if install(&artifact.file, &workspace.root.join(&place))? {
            step(format!("wrote {}", place.display()));
        }
        built.files.push((place, source.into()));
    }
    Ok(built)
}

/// Returns the packages of each cargo command that builds these handlers.
fn commands_of<'d>(demos: &[&'d Demo]) -> Vec<Vec<&'d str>> {
    let (alone, together): (Vec<&Demo>, Vec<&Demo>) =
        demos.iter().partition(|demo| demo.disables_features());
    let mut commands: Vec<Vec<&str>> = alone.iter().map(|demo| vec![&*demo.package]).collect();
    if !together.is_empty() {
        commands.push(together.iter().map(|demo| &*demo.package).collect());
    }
    commands
}

/// Copies the workspace's lock file to a package that has none; cargo keeps the entries that it
/// needs. This avoids network access, and shared dependencies are compiled once.
fn lend_lock(workspace: &Workspace, demo: &Demo) -> Result<()> {
    let (lock, own) = (
        workspace.root.join("Cargo.lock"),
        demo.folder().join("Cargo.lock"),
    );
    if lock.is_file() && !own.exists() {
        fs::copy(&lock, &own).with_context(|| format!("can't write {}", own.display()))?;
    }
    Ok(())
}

/// Builds the site's handlers that are commands, each from a named source, to
/// `handlers/<name>.wasm`. A handler that fails to build doesn't prevent the others from being
/// built.
///
/// # Errors
///
/// Fails if a file can't be written.
pub(crate) fn build_commands(
    workspace: &Workspace,
    sources: &[(String, PathBuf)],
    compile: Compile<'_>,
) -> Result<Built> {
    let mut result = Built::default();
    for (name, source) in sources {
        let folder = folder(workspace).join("commands");
        fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
        let built = folder.join(format!("{name}.wasm"));
        let source_folder = workspace.shown(source.parent().unwrap_or(source));
        if let Err(error) = compile(source, &built) {
            result.failures.push(format!("{source_folder}: {error:#}"));
            continue;
        }
        let place = Path::new(HANDLERS).join(format!("{name}.wasm"));
        if install(&built, &workspace.root.join(&place))? {
            step(format!("wrote {}", place.display()));
        }
        result.files.push((place, source_folder.into()));
    }
    Ok(result)
}

/// Builds the tracked demo handlers (see [`tracked`]) to `guests/demos/<route>.wasm` in the target
/// folder, for tests and measurements. Handlers in C and Go are built if their toolchains are
/// available. Returns that folder.
///
/// # Errors
///
/// Fails if a handler does not build, or a file can't be written.
pub fn build_tracked(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    commands: Option<&CommandToolchains>,
) -> Result<PathBuf> {
    step("building the demo handlers as git tracks them");
    let site = tracked::copy(workspace)?;
    let copy = Workspace::load_from(&site)?;
    let demos = copy.demos();
    ensure!(demos.problems.is_empty(), "{}", demos.problems.join("; "));
    let place = |route: &str| {
        folder(workspace)
            .join("demos")
            .join(format!("{route}.wasm"))
    };
    let mut artifacts = Vec::new();
    for packages in commands_of(&demos.demos.iter().collect::<Vec<_>>()) {
        // Not in the copy's folder: if that is below the workspace, cargo applies its flags twice,
        // and takes what was built so for something else.
        let mut cargo = workspace.cargo("build");
        cargo.arg("--manifest-path").arg(site.join("Cargo.toml"));
        add_profile(&mut cargo, workspace);
        cargo.arg("--lib");
        cargo.args(packages.iter().flat_map(|package| ["--package", *package]));
        toolchain.apply_to(&mut cargo);
        artifacts.extend(Artifact::all(&processes::text_of(&mut cargo)?));
    }
    for demo in &demos.demos {
        let artifact = artifacts
            .iter()
            .find(|artifact| artifact.manifest == demo.manifest);
        let artifact = artifact
            .with_context(|| format!("cargo built no component of package {}", demo.package))?;
        install(&artifact.file, &place(&demo.route))?;
    }
    if let Some(commands) = commands {
        commands.for_each(&copy.c_demos(), &copy.go_demos(), |sources, compile| {
            for (name, source) in sources {
                let file = place(name);
                fs::create_dir_all(file.parent().unwrap_or(&file))?;
                compile(source, &file)?;
            }
            Ok(())
        })?;
    }
    Ok(folder(workspace).join("demos"))
}

/// Builds the tests' handlers to `guests/cases/<case>.wasm` in the target folder.
///
/// # Errors
///
/// Fails if a handler does not build, or its file can't be written.
pub fn build_cases(workspace: &Workspace, toolchain: &GuestToolchain) -> Result<()> {
    let Some(guests) = workspace.test_guests() else {
        step("no test handlers to build");
        return Ok(());
    };
    step("building the test handlers");
    let mut built = build(
        workspace,
        toolchain,
        &["--examples", "--package", &guests.package],
    )?;
    if let Some(manifest) = workspace.other_guests() {
        let manifest = manifest.to_string_lossy();
        let selection = ["--bins", "--lib", "--manifest-path", &*manifest];
        let others = build(workspace, toolchain, &selection)?;
        // Their dependencies in the workspace are not handlers.
        built.extend(others.into_iter().filter(|one| one.manifest == *manifest));
    }
    for artifact in &built {
        let place = folder(workspace)
            .join("cases")
            .join(format!("{}.wasm", artifact.name));
        install(&artifact.file, &place)?;
    }
    Ok(())
}

/// Builds a package that is not a handler of the demo site, and returns the path of its component.
///
/// # Errors
///
/// Fails if it does not build.
pub fn build_package(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    package: &str,
) -> Result<PathBuf> {
    step(format!("building {package}"));
    let built = build(workspace, toolchain, &["--lib", "--package", package])?;
    let artifact = built.into_iter().next_back();
    Ok(artifact
        .with_context(|| format!("cargo built no component of package {package}"))?
        .file)
}

/// Runs clippy on the handlers for their own target, since the host's clippy doesn't see code that
/// is compiled only for it. Does nothing if the toolchain has no clippy.
///
/// # Errors
///
/// Fails if there is a warning.
pub fn lint(workspace: &Workspace, toolchain: &GuestToolchain, arguments: &[&str]) -> Result<()> {
    if !toolchain.has_clippy() {
        step("skipping clippy for handlers: the toolchain has none");
        return Ok(());
    }
    let members = workspace
        .demos()
        .demos
        .into_iter()
        .filter(|demo| demo.is_member);
    let mut packages: Vec<String> = members.map(|demo| demo.package).collect();
    packages.extend(workspace.test_guests().map(|guests| guests.package));
    packages.extend(
        [SDK.to_owned()]
            .into_iter()
            .filter(|sdk| workspace.has_package(sdk)),
    );
    if packages.is_empty() {
        return Ok(());
    }
    step(format!("cargo clippy --target {TARGET}"));
    let mut cargo = workspace.cargo("clippy");
    cargo
        .args(["--target", TARGET, "--lib", "--examples", "--target-dir"])
        .arg(folder(workspace));
    cargo
        .args(packages.iter().flat_map(|package| ["--package", package]))
        .args(arguments);
    toolchain.apply_to(&mut cargo);
    processes::run(&mut cargo)
}

/// Returns the target folder of guest builds.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("guests")
}

/// A component that cargo built.
#[derive(Debug, PartialEq)]
struct Artifact {
    /// The manifest of its package.
    manifest: PathBuf,
    /// The name of its crate.
    name: String,
    file: PathBuf,
}

impl Artifact {
    /// Parses all of cargo's messages.
    fn all(messages: &str) -> Vec<Self> {
        messages.lines().filter_map(Self::parse).collect()
    }

    /// Parses one of cargo's messages. Returns none if it doesn't describe a component.
    fn parse(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["reason"] != "compiler-artifact" {
            return None;
        }
        let files = message["filenames"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str);
        Some(Self {
            manifest: message["manifest_path"].as_str()?.into(),
            name: message["target"]["name"].as_str()?.to_owned(),
            file: files
                .map(PathBuf::from)
                .find(|file| file.extension() == Some("wasm".as_ref()))?,
        })
    }
}

fn build(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    selection: &[&str],
) -> Result<Vec<Artifact>> {
    let mut cargo = cargo_build(workspace, toolchain, selection);
    Ok(Artifact::all(&processes::text_of(&mut cargo)?))
}

/// Builds as many packages of a selection as possible.
fn build_some(
    workspace: &Workspace,
    toolchain: &GuestToolchain,
    selection: &[&str],
) -> Result<Vec<Artifact>> {
    let mut cargo = cargo_build(workspace, toolchain, selection);
    let (messages, _) = processes::text_and_success_of(&mut cargo)?;
    Ok(Artifact::all(&messages))
}

fn cargo_build(workspace: &Workspace, toolchain: &GuestToolchain, selection: &[&str]) -> Command {
    let mut cargo = workspace.cargo("build");
    add_profile(&mut cargo, workspace);
    cargo.args(selection);
    toolchain.apply_to(&mut cargo);
    cargo
}

/// Adds the options that determine how every handler is built, and where.
fn add_profile(cargo: &mut Command, workspace: &Workspace) {
    cargo
        .args(["--target", TARGET, "--profile", PROFILE])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(folder(workspace));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_by_itself_is_built_with_the_workspaces_profile() {
        let manifest = include_str!("../../../Cargo.toml");
        let (_, profile) = manifest
            .split_once("[profile.guest]\n")
            .expect("it is there");
        let lines: Vec<&str> = profile
            .lines()
            .take_while(|line| !line.is_empty())
            .collect();
        assert_eq!(lines, PROFILE_SETTINGS);
    }

    #[test]
    fn only_components_are_artifacts() {
        let line = |reason: &str, file: &str| {
            format!(
                r#"{{"reason":"{reason}","manifest_path":"/w/handlers/hello/Cargo.toml",
                    "target":{{"name":"hello"}},"filenames":["/t/hello.rlib","/t/{file}"]}}"#
            )
        };
        let expected = Artifact {
            manifest: "/w/handlers/hello/Cargo.toml".into(),
            name: "hello".into(),
            file: "/t/hello.wasm".into(),
        };
        assert_eq!(
            Artifact::parse(&line("compiler-artifact", "hello.wasm")),
            Some(expected)
        );
        assert_eq!(
            Artifact::parse(&line("compiler-artifact", "hello.so")),
            None
        );
        assert_eq!(
            Artifact::parse(&line("build-script-executed", "hello.wasm")),
            None
        );
        assert_eq!(Artifact::parse("no json"), None);
    }
}
