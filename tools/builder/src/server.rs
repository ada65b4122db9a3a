//! The server, built from this workspace.

use std::path::PathBuf;

use anyhow::Result;
use processes::{run, step};

use crate::workspace::Workspace;

/// Builds the server and returns its path.
///
/// # Errors
///
/// Fails if it doesn't compile.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    step("building the server");
    run(workspace
        .cargo("build")
        .args(["--release", "--package", "wasgi"]))?;
    Ok(workspace.target.join("release/wasgi"))
}
