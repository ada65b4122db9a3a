//! The files that `cargo xtask package` makes, and how they are written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use builder::Workspace;

/// The results.
#[derive(Debug)]
pub(super) struct Packages {
    pub(super) deb: Option<PathBuf>,
    pub(super) archive: PathBuf,
}

/// Returns the folder that is packed.
pub(super) fn staged(workspace: &Workspace) -> PathBuf {
    workspace.target.join("release/package/wasgi")
}

pub(super) fn write(file: &Path, text: &str) -> Result<()> {
    make_parent(file)?;
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}

pub(super) fn make_parent(file: &Path) -> Result<()> {
    let folder = file.parent().context("a file is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))
}

/// Returns the version of the server.
pub(super) fn version(workspace: &Workspace) -> Result<String> {
    let manifest = workspace.root.join("Cargo.toml");
    let text = fs::read_to_string(manifest).context("can't read Cargo.toml")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("version = \""));
    let version = line.and_then(|rest| rest.strip_suffix('"'));
    Ok(version.context("Cargo.toml has no version")?.to_owned())
}
