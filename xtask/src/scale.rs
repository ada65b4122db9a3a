//! The programs in `tests/scale`, which serve two nodes with what is in `packaging/`.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;
use builder::toolchain::GuestToolchain;
use builder::{Workspace, handlers, server};
use processes::run;

/// Checks the configurations of balancers and the manifests of Kubernetes with the real programs.
/// The arguments are those of `manifests.py`.
///
/// # Errors
///
/// Fails if a program is missing, if a file is invalid, or if a request fails.
pub(crate) fn manifests(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let mut program = program(workspace, "manifests.py")?;
    run(program.args(arguments))
}

/// Restarts, kills and upgrades two nodes behind HAProxy, with Redis, under load. The arguments are
/// those of `rolling.py`.
///
/// # Errors
///
/// Fails if a program is missing, if too many requests fail, or if an acknowledged write is lost.
pub(crate) fn rolling(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let handlers = handlers::build_tracked(workspace, &toolchain, None)?;
    let mut program = program(workspace, "rolling.py")?;
    run(program.arg("--handlers").arg(handlers).args(arguments))
}

/// Builds the server, and returns a command that runs a program of `tests/scale` with it.
fn program(workspace: &Workspace, name: &str) -> Result<Command> {
    let server = server::build(workspace)?;
    let mut program = Command::new("python3");
    program
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(workspace.root.join("tests/scale").join(name))
        .arg("--wasgi")
        .arg(server)
        .arg("--work")
        .arg(workspace.target.join("scale"));
    Ok(program)
}
