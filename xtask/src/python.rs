//! Handlers in Python: the tests that run without WebAssembly, and the programs in `tests/python`
//! that build, request and measure applications.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use builder::{Workspace, python, server};
use processes::{run, step};

/// Runs the SDK's tests, and those of the demos if their dependencies are installed.
///
/// # Errors
///
/// Fails if a test fails.
pub(crate) fn test(workspace: &Workspace) -> Result<()> {
    if !python::is_available() {
        step("skipping the Python tests: no Python 3.10 or later");
        return Ok(());
    }
    let has_packages = python::has_packages(workspace)?;
    let interpreter = match has_packages {
        true => python::interpreter(workspace),
        false => PathBuf::from("python3"),
    };
    step("tests of the Python SDK");
    run(in_folder(workspace, &interpreter, &format!("{}/tests", python::SDK)).args(UNITTEST))?;
    if !has_packages {
        step(
            "skipping the tests of the Python demos: their packages are not installed (`cargo xtask python`)",
        );
        return Ok(());
    }
    for folder in python::demo_folders() {
        step(format!("tests of {folder}"));
        let is_django = workspace.root.join(folder).join("manage.py").is_file();
        let arguments = if is_django { DJANGO_TEST } else { UNITTEST };
        run(in_folder(workspace, &interpreter, folder).args(arguments))?;
    }
    Ok(())
}

const UNITTEST: [&str; 2] = ["-m", "unittest"];
const DJANGO_TEST: [&str; 2] = ["manage.py", "test"];

/// Returns a command that runs Python in a folder of the repository.
fn in_folder(workspace: &Workspace, interpreter: &Path, folder: &str) -> Command {
    let mut command = Command::new(interpreter);
    command
        .current_dir(workspace.root.join(folder))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Builds an application with each framework that the documentation names, or with those named
/// here, each in a separate virtual environment, and sends it requests through a server: to the
/// component, and to the same application as a script.
///
/// # Errors
///
/// Fails if an application doesn't behave as expected.
pub(crate) fn frameworks(workspace: &Workspace, names: &[OsString]) -> Result<()> {
    let mut program = program(workspace, "frameworks/drive.py")?;
    run(program
        .arg("--work")
        .arg(workspace.target.join("python/frameworks"))
        .args(names))
}

/// Measures requests to applications as scripts and as built handlers, and the memory of a server
/// with many scripts. The arguments are those of `measure.py`.
///
/// # Errors
///
/// Fails if an application doesn't build or respond.
pub(crate) fn figures(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut program = program(workspace, "figures/measure.py")?;
    run(program
        .arg("--runtime")
        .arg(workspace.target.join("runtime"))
        .arg("--sdk")
        .arg(workspace.root.join(python::SDK))
        .arg("--work")
        .arg(workspace.target.join("python/figures"))
        .args(arguments))
}

/// Measures the time from saving scripts in Python and JavaScript to their responses, beside the
/// reloaders of Flask and Node.js. The arguments are those of `saves.py`.
///
/// # Errors
///
/// Fails if an application doesn't respond.
pub(crate) fn save_figures(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut program = program(workspace, "figures/saves.py")?;
    run(program
        .arg("--runtime")
        .arg(workspace.target.join("runtime"))
        .arg("--sdk")
        .arg(workspace.root.join(python::SDK))
        .arg("--demos")
        .arg(workspace.root.join("handlers/_python"))
        .arg("--work")
        .arg(workspace.target.join("python/saves"))
        .args(arguments))
}

/// Builds the server and the runtime, and returns a command that runs a program of `tests/python`
/// with that server.
fn program(workspace: &Workspace, name: &str) -> Result<Command> {
    let server = server::build(workspace)?;
    python::build_runtime(workspace)?;
    let mut program = Command::new("python3");
    program
        .arg(workspace.root.join(python::TESTS).join(name))
        .arg("--wasgi")
        .arg(server);
    Ok(program)
}
