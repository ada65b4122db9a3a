//! Handlers in Python: a virtual environment with their dependencies, the demo components, and the
//! tests that run without WebAssembly.
//!
//! Nothing else here needs Python. Without Python, this prints a line and does nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result};
use processes::{run, step};

use crate::guests;
use crate::tracked;
use crate::workspace::{HANDLERS, Workspace};

/// The Python package that builds handlers.
const SDK: &str = "guest-sdk/python";

/// The folder of the Python demos' sources.
const DEMOS_FOLDER: &str = "handlers/_python";

/// The folder of the application that the integration tests serve.
const CASES_FOLDER: &str = "tests/python";

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
const CASES: [Component; 3] = [
    Component {
        name: "python-asgi",
        folder: CASES_FOLDER,
        target: "contract:asgi",
        warm: &["/"],
    },
    Component {
        name: "python-contract",
        folder: CASES_FOLDER,
        target: "contract:application",
        warm: &[],
    },
    Component {
        name: "python-validated",
        folder: CASES_FOLDER,
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
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    if !is_there() {
        step("no Python 3.10 or later with venv and pip: the Python handlers are not built");
        return Ok(());
    }
    let python = environment(workspace)?;
    runtime(workspace, &python)?;
    let cases = workspace.target.join("guests/cases");
    fs::create_dir_all(&cases).with_context(|| format!("can't make {}", cases.display()))?;
    for component in &CASES {
        let output = cases.join(format!("{}.wasm", component.name));
        component.build(workspace, &python, &workspace.root, &output)?;
    }
    let site = tracked::copy(workspace)?;
    let demos = workspace.target.join("guests/python-demos");
    fs::create_dir_all(&demos).with_context(|| format!("can't make {}", demos.display()))?;
    for component in &DEMOS {
        let name = format!("{}.wasm", component.name);
        let (for_tests, output) = (demos.join(&name), workspace.root.join(HANDLERS).join(&name));
        component.build(workspace, &python, &site, &for_tests)?;
        // The tests use tracked sources, independent of a user's changes.
        if tracked::is_same(
            &site.join(component.folder),
            &workspace.root.join(component.folder),
        ) {
            guests::install(&for_tests, &output)?;
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
pub(crate) fn build_runtime(workspace: &Workspace) -> Result<()> {
    if !is_there() {
        step("no Python 3.10 or later with venv and pip: the runtime for scripts is not built");
        return Ok(());
    }
    runtime(workspace, &environment(workspace)?)
}

fn runtime(workspace: &Workspace, python: &Path) -> Result<()> {
    let output = workspace.target.join("runtime/python");
    let sources = [
        workspace.root.join(SDK).join("src"),
        workspace.root.join(SDK).join("requirements.txt"),
    ];
    if is_newer(&output.join("python.wasm"), &sources) {
        return Ok(());
    }
    step("building the runtime for scripts in Python (target/runtime)");
    let mut command = Command::new(python);
    command
        .args(["-m", "wasgi", "runtime"])
        .arg(&output)
        .env("PYTHONPATH", workspace.root.join(SDK).join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut command)
}

/// Runs the SDK's tests, and those of the demos if their dependencies are installed.
///
/// # Errors
///
/// Fails if a test fails.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    if !is_there() {
        step("no Python 3.10 or later: the Python tests are left out");
        return Ok(());
    }
    let installed = interpreter(workspace);
    let has_packages = installed.is_file();
    let python = if has_packages {
        installed
    } else {
        PathBuf::from("python3")
    };
    step("tests of the Python SDK");
    run(&mut unittest(workspace, &python, &format!("{SDK}/tests")))?;
    if !has_packages {
        step("`cargo xtask python` was not run: the Python demos' tests are left out");
        return Ok(());
    }
    for demo in &DEMOS {
        step(format!("tests of {}", demo.folder));
        if demo.name == "django" {
            let mut command = Command::new(&python);
            command
                .args(["manage.py", "test"])
                .current_dir(workspace.root.join(demo.folder));
            run(command.env("PYTHONDONTWRITEBYTECODE", "1"))?;
        } else {
            run(&mut unittest(workspace, &python, demo.folder))?;
        }
    }
    Ok(())
}

/// Builds an application with each framework that the documentation names, or with those named
/// here, each in a separate virtual environment, and sends it requests through a server: to the
/// component, and to the same application as a script.
///
/// # Errors
///
/// Fails if an application doesn't behave as expected.
pub(crate) fn frameworks(
    workspace: &Workspace,
    server: &Path,
    names: &[std::ffi::OsString],
) -> Result<()> {
    build_runtime(workspace)?;
    let mut command = Command::new("python3");
    command
        .arg(
            workspace
                .root
                .join(CASES_FOLDER)
                .join("frameworks/drive.py"),
        )
        .arg("--wasgi")
        .arg(server)
        .arg("--work")
        .arg(workspace.target.join("python/frameworks"))
        .args(names);
    run(&mut command)
}

/// Measures requests to applications as scripts and as built handlers, and the memory of a server
/// with many scripts. The arguments are those of `measure.py`.
///
/// # Errors
///
/// Fails if an application doesn't build or answer.
pub(crate) fn figures(
    workspace: &Workspace,
    server: &Path,
    arguments: &[std::ffi::OsString],
) -> Result<()> {
    let mut command = Command::new("python3");
    command
        .arg(workspace.root.join(CASES_FOLDER).join("figures/measure.py"))
        .arg("--wasgi")
        .arg(server)
        .arg("--runtime")
        .arg(workspace.target.join("runtime"))
        .arg("--sdk")
        .arg(workspace.root.join(SDK))
        .arg("--work")
        .arg(workspace.target.join("python/figures"))
        .args(arguments);
    run(&mut command)
}

impl Component {
    /// Builds the component from its folder in `top`.
    fn build(&self, workspace: &Workspace, python: &Path, top: &Path, output: &Path) -> Result<()> {
        let sources = [
            top.join(self.folder),
            workspace.root.join(SDK).join("src"),
            workspace.root.join(SDK).join("requirements.txt"),
        ];
        if is_newer(output, &sources) {
            return Ok(());
        }
        step(format!("building {} from {}", self.name, self.folder));
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

fn is_there() -> bool {
    let mut probe = Command::new("python3");
    probe
        .args(["-c", PROBE])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Returns the path of the virtual environment's interpreter, which may not exist.
fn interpreter(workspace: &Workspace) -> PathBuf {
    workspace.target.join("python/venv/bin/python")
}

/// Creates or updates the virtual environment, and returns its interpreter.
fn environment(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("python");
    let python = interpreter(workspace);
    let requirements = requirements(workspace)?;
    let mut wanted = String::new();
    for file in &requirements {
        wanted +=
            &fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    }
    // The requirements that were installed last, to avoid unnecessary network access.
    let stamp = folder.join("installed.txt");
    if python.is_file() && fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
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
    fs::write(&stamp, wanted).with_context(|| format!("can't write {}", stamp.display()))?;
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

fn unittest(workspace: &Workspace, python: &Path, folder: &str) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "unittest"])
        .current_dir(workspace.root.join(folder))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

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
