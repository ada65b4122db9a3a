//! The programs in `tests/scale`, which serve two nodes with what is in `packaging/`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
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
    let (server, arguments) = server(workspace, arguments)?;
    run(program(workspace, "manifests.py", &server).args(arguments))
}

/// Restarts, kills and upgrades two nodes behind HAProxy, and restarts and kills Redis, under load.
/// The arguments are those of `rolling.py`.
///
/// # Errors
///
/// Fails if a program is missing, if too many requests fail, or if an acknowledged write is lost.
pub(crate) fn rolling(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let handlers = handlers::build_tracked(workspace, &toolchain, None)?;
    let (server, arguments) = server(workspace, arguments)?;
    let mut program = program(workspace, "rolling.py", &server);
    run(program.arg("--handlers").arg(handlers).args(arguments))
}

/// Returns the server that `--server FILE` at the begin of the arguments names, and the other
/// arguments. Builds the server if they don't begin so.
fn server<'a>(
    workspace: &Workspace,
    arguments: &'a [OsString],
) -> Result<(PathBuf, &'a [OsString])> {
    match arguments {
        [option, file, rest @ ..] if option == "--server" => {
            let file = std::path::absolute(file).context("the server's path is invalid")?;
            Ok((file, rest))
        }
        _ => Ok((server::build(workspace)?, arguments)),
    }
}

/// Returns a command that runs a program of `tests/scale` with a server.
fn program(workspace: &Workspace, name: &str, server: &Path) -> Command {
    let mut program = Command::new("python3");
    program
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(workspace.root.join("tests/scale").join(name))
        .arg("--wasgi")
        .arg(server)
        .arg("--work")
        .arg(workspace.target.join("scale"));
    program
}
