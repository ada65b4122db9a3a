//! Handlers in Python: a virtual environment with their dependencies, the demo components, and the
//! runtime of scripts.
//!
//! Nothing else here needs Python. Without Python, this prints a line and does nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use processes::{run, step};

use crate::freshness::is_newer;
use crate::install::install;
use crate::tracked;
use crate::workspace::{HANDLERS, Workspace};

/// The Python package that builds handlers.
pub const SDK: &str = "guest-sdk/python";

/// The folder of the Python demos' sources.
const DEMOS_FOLDER: &str = "handlers/_python";

/// The folder of the application that the integration tests serve.
pub const TESTS: &str = "tests/python";

/// Succeeds if Python is new enough and can create virtual environments.
const PROBE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";

/// A component to build.
struct Component {
    /// The name of its file, without the extension.
    name: &'static str,
    /// The folder of its sources, relative to the repository's root.
    folder: &'static str,
    /// The application to serve, as `module:callable`.
    target: &'static str,
    /// The paths that the build requests.
    warm: &'static [&'static str],
}

const DEMOS: [Component; 4] = [
    Component {
        name: "clock",
        folder: "handlers/_python/clock",
        target: "clock:application",
        warm: &["/"],
    },
    Component {
        name: "flask",
        folder: "handlers/_python/flask",
        target: "app:app",
        warm: &["/"],
    },
    Component {
        name: "django",
        folder: "handlers/_python/django",
        target: "site_wsgi:application",
        warm: &["/", "/admin/login/"],
    },
    Component {
        name: "bottle",
        folder: "handlers/_python/bottle",
        target: "app:app",
        warm: &["/"],
    },
];

/// The components that the integration tests serve, in addition to the demos.
const CASES: [Component; 4] = [
    Component {
        name: "python-asgi",
        folder: TESTS,
        target: "contract:asgi",
        warm: &["/"],
    },
    Component {
        name: "python-contract",
        folder: TESTS,
        target: "contract:application",
        warm: &[],
    },
    Component {
        name: "python-granted",
        folder: TESTS,
        target: "granted:application",
        warm: &[],
    },
    Component {
        name: "python-validated",
        folder: TESTS,
        target: "contract:validated",
        warm: &[],
    },
];

/// Installs the dependencies in the target folder, and builds the Python demos and test handlers.
/// Skips those that are newer than their sources.
///
/// # Errors
///
/// Fails if a package can't be installed, or a component does not build.
pub fn build(workspace: &Workspace) -> Result<()> {
    if !is_available() {
        step("skipping the Python handlers: no Python 3.10 or later with venv and pip");
        return Ok(());
    }
    let python = environment(workspace)?;
    build_runtime(workspace)?;
    for component in &CASES {
        let output = component.for_tests(workspace);
        component.build(workspace, &python, &workspace.root, &output)?;
    }
    let site = tracked::copy(workspace)?;
    for component in &DEMOS {
        let name = format!("{}.wasm", component.name);
        let output = workspace.root.join(HANDLERS).join(name);
        let for_tests = component.for_tests(workspace);
        component.build(workspace, &python, &site, &for_tests)?;
        // The tests use tracked sources, independent of a user's changes.
        if tracked::is_same(
            &site.join(component.folder),
            &workspace.root.join(component.folder),
        ) {
            install(&for_tests, &output)?;
        } else {
            component.build(workspace, &python, &workspace.root, &output)?;
        }
    }
    Ok(())
}

/// Builds the runtime that loads scripts in the target folder, where a server that was built there
/// finds it. Skips it if it is newer than its sources.
///
/// # Errors
///
/// Fails if a package can't be installed, or the runtime does not build.
pub fn build_runtime(workspace: &Workspace) -> Result<()> {
    if !is_available() {
        step("skipping the runtime for scripts: no Python 3.10 or later with venv and pip");
        return Ok(());
    }
    if is_runtime_current(workspace) {
        return Ok(());
    }
    let python = environment(workspace)?;
    step("building the runtime for scripts in Python (target/runtime)");
    let mut command = Command::new(python);
    command
        .args(["-m", "wasgi", "runtime"])
        .arg(workspace.target.join("runtime/python"))
        .env("PYTHONPATH", workspace.root.join(SDK).join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut command)
}

/// Builds the runtime as [`build_runtime`] does, for tests, which print `SKIPPED` without it. If it
/// can't be built, for example without a network, prints the reason. Removes an outdated runtime
/// and outdated components, with which tests would fail. The copy of the demo site must be up to
/// date ([`tracked::copy`]).
///
/// # Errors
///
/// Fails if something outdated can't be removed.
pub fn prepare_tests(workspace: &Workspace) -> Result<()> {
    if let Err(error) = build_runtime(workspace) {
        step(format!(
            "NOT TESTED: scripts in Python: their runtime can't be built: {error:#}"
        ));
    }
    let mut outdated = Vec::new();
    if !is_runtime_current(workspace) {
        outdated.push(runtime_file(workspace));
    }
    let site = tracked::folder(workspace);
    let cases = CASES.iter().map(|case| (case, &workspace.root));
    for (component, top) in cases.chain(DEMOS.iter().map(|demo| (demo, &site))) {
        let file = component.for_tests(workspace);
        if !is_newer(&file, &component.sources(workspace, top)) {
            outdated.push(file);
        }
    }
    outdated.retain(|file| file.is_file());
    for file in &outdated {
        fs::remove_file(file).with_context(|| format!("can't remove {}", file.display()))?;
    }
    if !outdated.is_empty() {
        let names = outdated.iter().filter_map(|file| file.file_stem());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        step(format!(
            "NOT TESTED: Python handlers that were older than their sources: {}; `cargo xtask \
             python` builds them again",
            names.join(", ")
        ));
    }
    Ok(())
}

/// Returns the file of the runtime's interpreter.
fn runtime_file(workspace: &Workspace) -> PathBuf {
    workspace.target.join("runtime/python/python.wasm")
}

fn is_runtime_current(workspace: &Workspace) -> bool {
    let sources = [
        workspace.root.join(SDK).join("src"),
        workspace.root.join(SDK).join("requirements.txt"),
    ];
    is_newer(&runtime_file(workspace), &sources)
}

impl Component {
    /// Returns the file of the component that the tests serve.
    fn for_tests(&self, workspace: &Workspace) -> PathBuf {
        let is_demo = self.folder.starts_with(DEMOS_FOLDER);
        let folder = if is_demo { "python-demos" } else { "cases" };
        let guests = workspace.target.join("guests");
        guests.join(folder).join(format!("{}.wasm", self.name))
    }

    /// Returns what the component is built from, with its folder in `top`.
    fn sources(&self, workspace: &Workspace, top: &Path) -> [PathBuf; 3] {
        [
            top.join(self.folder),
            workspace.root.join(SDK).join("src"),
            workspace.root.join(SDK).join("requirements.txt"),
        ]
    }

    /// Builds the component from its folder in `top`.
    fn build(&self, workspace: &Workspace, python: &Path, top: &Path, output: &Path) -> Result<()> {
        if is_newer(output, &self.sources(workspace, top)) {
            return Ok(());
        }
        step(format!("building {} from {}", self.name, self.folder));
        if let Some(folder) = output.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("can't make {}", folder.display()))?;
        }
        let mut command = Command::new(python);
        command
            .args(["-m", "wasgi", "build", self.target, "--output"])
            .arg(output)
            .current_dir(top.join(self.folder))
            .env("PYTHONPATH", workspace.root.join(SDK).join("src"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        for path in self.warm {
            command.args(["--warm", path]);
        }
        run(&mut command)
    }
}

/// Returns the folders of the demos' sources, relative to the repository's root.
pub fn demo_folders() -> impl Iterator<Item = &'static str> {
    DEMOS.iter().map(|demo| demo.folder)
}

/// Returns whether there is a Python that is new enough and can create virtual environments.
pub fn is_available() -> bool {
    let mut probe = Command::new("python3");
    probe
        .args(["-c", PROBE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Returns the path of the virtual environment's interpreter, which may not exist.
pub fn interpreter(workspace: &Workspace) -> PathBuf {
    workspace.target.join("python/venv/bin/python")
}

/// Returns whether the virtual environment has all packages that the SDK and the demos require.
///
/// # Errors
///
/// Fails if their requirements can't be read.
pub fn has_packages(workspace: &Workspace) -> Result<bool> {
    let installed = fs::read_to_string(stamp(workspace));
    let wanted = wanted(&requirements(workspace)?)?;
    Ok(interpreter(workspace).is_file() && installed.is_ok_and(|installed| installed == wanted))
}

/// Returns the file with the requirements that were installed last, which avoids unnecessary
/// network access.
fn stamp(workspace: &Workspace) -> PathBuf {
    workspace.target.join("python/installed.txt")
}

/// Returns the contents of these files with requirements.
fn wanted(requirements: &[PathBuf]) -> Result<String> {
    let mut wanted = String::new();
    for file in requirements {
        wanted +=
            &fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    }
    Ok(wanted)
}

/// Creates or updates the virtual environment, and returns its interpreter.
///
/// # Errors
///
/// Fails if a package can't be installed.
pub(crate) fn environment(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("python");
    let python = interpreter(workspace);
    if has_packages(workspace)? {
        return Ok(python);
    }
    let requirements = requirements(workspace)?;
    step("installing componentize-py and the demos' packages (target/python)");
    run(Command::new("python3")
        .args(["-m", "venv"])
        .arg(folder.join("venv")))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet"])
        .arg("--disable-pip-version-check");
    for file in &requirements {
        pip.arg("--requirement").arg(file);
    }
    run(&mut pip)?;
    let stamp = stamp(workspace);
    fs::write(&stamp, wanted(&requirements)?)
        .with_context(|| format!("can't write {}", stamp.display()))?;
    Ok(python)
}

/// Returns the files with the requirements of the SDK and of each demo.
fn requirements(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let demos = workspace.root.join(DEMOS_FOLDER);
    let mut files = vec![workspace.root.join(SDK).join("requirements.txt")];
    let entries = demos
        .read_dir()
        .with_context(|| format!("can't read {}", demos.display()))?;
    for entry in entries {
        let folder = entry?.path();
        for name in ["requirements.txt", "requirements-test.txt"] {
            files.extend(Some(folder.join(name)).filter(|file| file.is_file()));
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_has_its_sources_and_pinned_requirements() {
        let workspace = Workspace::load().expect("cargo describes it");
        for component in DEMOS.iter().chain(&CASES) {
            let (module, _) = component.target.split_once(':').expect("module:callable");
            let folder = workspace.root.join(component.folder);
            assert!(
                folder.join(format!("{module}.py")).is_file(),
                "{}",
                component.target
            );
        }
        for file in requirements(&workspace).expect("they are there") {
            let text = fs::read_to_string(&file).expect("readable");
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                assert!(line.contains("=="), "{}: {line}", file.display());
            }
        }
    }
}
