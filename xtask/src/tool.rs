//! The programs in `tools/`, each of which is built when its command is called.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use builder::Workspace;
use processes::run;

/// Builds the program of a package, and runs it with these words and arguments. Returns only if
/// that fails.
///
/// # Errors
///
/// Fails if the program does not compile, or can't be started.
pub(crate) fn run_tool(
    workspace: &Workspace,
    package: &str,
    words: &[&str],
    arguments: &[OsString],
) -> Result<()> {
    run(workspace
        .cargo("build")
        .args(["--quiet", "--package", package]))?;
    let mut program = Command::new(workspace.target.join("debug").join(package));
    program
        .current_dir(&workspace.root)
        .args(words)
        .args(arguments);
    become_program(&mut program)
}

/// Replaces this process with a program, so that signals and the exit status are the program's.
/// Returns only if that fails.
///
/// # Errors
///
/// Fails if the program can't be started.
pub(crate) fn become_program(command: &mut Command) -> Result<()> {
    let error = command.exec();
    let program = Path::new(command.get_program()).display();
    Err(error).with_context(|| format!("can't start {program}"))
}
