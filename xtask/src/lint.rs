//! `cargo xtask lint`: formatting, clippy, rustdoc and the dependencies, with warnings as errors.

use std::ffi::OsString;

use anyhow::{Result, bail};
use builder::toolchain::GuestToolchain;
use builder::{Workspace, handlers};
use processes::{run, step};

use crate::{bench, dependencies};

/// Runs all lints, or the named part.
///
/// # Errors
///
/// Fails if there is a finding, or a tool can't be installed.
pub(crate) fn lint(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    match arguments {
        [] => {}
        [part] if part == "dependencies" => return dependencies::lint(workspace),
        [part, ..] => bail!(
            "unknown part {}; the only one is `dependencies`",
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
    dependencies::lint(workspace)
}
