//! Builds guests without rustup's target: Debian's `rustc-web` compiles the standard library from
//! `rust-web-src` for `wasm32-wasip2`, with the C library `wasi-libc`.
//!
//! A script, [`SCRIPT`], installs the packages. The linkers are those of the workspace's toolchain,
//! which has them even without the target's library.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::Rustc;

/// The compiler of `rustc-web`.
const RUSTC: &str = "/usr/bin/rustc";

/// The folder in which `wasi-libc` installs the target's libraries.
const LIBRARIES: &str = "/usr/lib/wasm32-wasip2";

/// The standard library's sources in a compiler's sysroot.
const STD_SOURCES: &str = "lib/rustlib/src/rust/library/Cargo.toml";

/// The program that installs the packages, relative to the repository's root.
pub(super) const SCRIPT: &str = "tools/install-debian-guest-toolchain";

/// The time limit of the installation: that of the two calls of apt, which the script limits.
const INSTALL_TIME_LIMIT: Duration = Duration::from_secs(1860);

/// Debian's packages, installed completely.
#[derive(Debug)]
pub struct Toolchain {
    release: String,
    component_linker: PathBuf,
    module_linker: PathBuf,
}

impl Toolchain {
    /// Finds the files that the packages install, and the linkers of `own`.
    ///
    /// # Errors
    ///
    /// Names the first file that is missing or too old.
    pub(super) fn find(own: &Rustc) -> Result<Self> {
        let exists = |path: PathBuf| {
            ensure!(path.exists(), "{} is missing", path.display());
            Ok(path)
        };
        exists(RUSTC.into())?;
        exists(Path::new(LIBRARIES).join("libc.a"))?;
        let rustc = Rustc::query_program(OsStr::new(RUSTC), Path::new("/"))?;
        exists(rustc.sysroot.join(STD_SOURCES))?;
        let wanted = env!("CARGO_PKG_RUST_VERSION");
        ensure!(
            is_at_least(&rustc.release, wanted),
            "{RUSTC} is version {}, but the workspace needs {wanted}",
            rustc.release
        );
        Ok(Self {
            release: rustc.release,
            component_linker: exists(own.linkers().join("wasm-component-ld"))?,
            module_linker: exists(own.linkers().join("gcc-ld/wasm-ld"))?,
        })
    }

    /// Returns the environment in which cargo builds a guest with it.
    pub(super) fn vars(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        let mut flags = OsString::from("-L");
        flags.push(LIBRARIES);
        flags.push(" -Clink-arg=--wasm-ld-path=");
        flags.push(&self.module_linker);
        [
            ("RUSTC", RUSTC.into()),
            // Cargo's option to build the standard library is unstable.
            ("RUSTC_BOOTSTRAP", "1".into()),
            ("CARGO_UNSTABLE_BUILD_STD", "std,panic_abort".into()),
            (
                "CARGO_TARGET_WASM32_WASIP2_LINKER",
                self.component_linker.clone().into(),
            ),
            ("CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS", flags),
        ]
        .into_iter()
    }

    pub(super) fn describe(&self) -> String {
        format!("Debian's rustc-web {}", self.release)
    }
}

/// Installs the packages for handlers in a language, `rust` or `c`, with [`SCRIPT`].
///
/// # Errors
///
/// Fails if this is not Debian, the user is not root, or apt fails.
pub(super) fn install(root: &Path, language: &str) -> Result<()> {
    processes::run_quietly(
        Command::new(root.join(SCRIPT)).arg(language),
        INSTALL_TIME_LIMIT,
    )
}

/// Returns whether a version such as `1.96.0` is at least one such as `1.95`.
fn is_at_least(version: &str, wanted: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let plain = text.split(['-', '+', '~']).next().unwrap_or_default();
        plain
            .split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect()
    };
    numbers(version) >= numbers(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_at_least("1.96.0", "1.95"));
        assert!(is_at_least("1.95.0", "1.95"));
        assert!(is_at_least("1.100.0", "1.95"));
        assert!(!is_at_least("1.94.1", "1.95"));
        assert!(is_at_least("1.95.0-nightly", "1.95"));
    }
}
