//! The toolchain for handlers: finds or installs it, and sets the environment of a guest build.
//!
//! The target is `wasm32-wasip2`. If the workspace's toolchain has it, or rustup can add it,
//! nothing else is needed. If rustup can't reach its server, Debian's packages are used instead
//! (see `debian.rs`). Only guest builds use this environment: the host is always built with the
//! workspace's toolchain.

mod c;
mod commands;
mod debian;
mod go;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use processes::step;

pub use self::commands::CommandToolchains;
pub(crate) use self::commands::Compile;

/// The target that handlers are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// Selects the toolchain, `rustup` or `debian`. By default it is the first one that is available.
const CHOICE: &str = "WASGI_GUEST_TOOLCHAIN";

/// The time limit of `rustup target add`. It downloads about 25 MB, which takes two minutes at 2
/// Mbit/s; a network that drops packets would make it wait longer.
const RUSTUP_TIME_LIMIT: Duration = Duration::from_secs(180);

/// A complete, installed toolchain that builds guests.
#[derive(Debug)]
pub enum GuestToolchain {
    /// The workspace's toolchain, which has the target.
    Own,
    /// Debian's compiler and C library, with the linkers of the workspace's toolchain.
    Debian(debian::Toolchain),
}

impl GuestToolchain {
    /// Finds the toolchain, and installs it if necessary. If it is already installed, this only
    /// reads a few files.
    ///
    /// # Errors
    ///
    /// Fails if it can't be installed, and says what to do about it.
    pub fn ensure(root: &Path) -> Result<Self> {
        let own = Rustc::query(root)?;
        match env::var(CHOICE).unwrap_or_default().as_str() {
            "" => Self::ensure_any(root, &own),
            "rustup" => Self::ensure_own(root, &own),
            "debian" => Self::ensure_debian(root, &own),
            other => bail!("{CHOICE} must be `rustup` or `debian`, not `{other}`"),
        }
    }

    fn ensure_any(root: &Path, own: &Rustc) -> Result<Self> {
        if own.has_target() {
            return Ok(Self::Own);
        }
        if let Ok(toolchain) = debian::Toolchain::find(own) {
            return Ok(Self::Debian(toolchain));
        }
        let refusal = match Self::ensure_own(root, own) {
            Ok(toolchain) => return Ok(toolchain),
            Err(refusal) => refusal,
        };
        step(format!("rustup can't add {TARGET}: {refusal:#}"));
        Self::ensure_debian(root, own).with_context(|| {
            format!(
                "the target {TARGET} is missing: run `rustup target add {TARGET}` where rustup has \
                 a network, or `{} rust` as root on Debian",
                debian::SCRIPT
            )
        })
    }

    fn ensure_own(root: &Path, own: &Rustc) -> Result<Self> {
        if !own.has_target() {
            step(format!("rustup target add {TARGET}"));
            let mut rustup = Command::new("rustup");
            rustup.args(["target", "add", TARGET]).current_dir(root);
            processes::run_quietly(&mut rustup, RUSTUP_TIME_LIMIT)?;
            if !own.has_target() {
                bail!(
                    "rustup added {TARGET} to a toolchain other than {}",
                    own.sysroot.display()
                );
            }
        }
        Ok(Self::Own)
    }

    fn ensure_debian(root: &Path, own: &Rustc) -> Result<Self> {
        if let Ok(toolchain) = debian::Toolchain::find(own) {
            return Ok(Self::Debian(toolchain));
        }
        step(format!(
            "running {} rust, which adds Debian's backports to apt's package sources and installs \
             rustc-web, rust-web-src and wasi-libc",
            debian::SCRIPT
        ));
        debian::install(root, "rust")?;
        debian::Toolchain::find(own)
            .map(Self::Debian)
            .context("Debian's packages are installed, and handlers still can't be built with them")
    }

    /// Sets the environment that a cargo command needs to build guests, and removes variables that
    /// would interfere.
    pub fn apply_to(&self, cargo: &mut Command) {
        for (name, value) in self.vars() {
            match value {
                Some(value) => cargo.env(name, value),
                None => cargo.env_remove(name),
            };
        }
    }

    /// Returns the environment of a guest build. Variables to remove have no value.
    fn vars(&self) -> Vec<(&'static str, Option<OsString>)> {
        // These two would override the target's flags: the small stack in `.cargo/config.toml`, and
        // those that Debian's compiler needs.
        let mut vars = vec![("RUSTFLAGS", None), ("CARGO_ENCODED_RUSTFLAGS", None)];
        if let Self::Debian(toolchain) = self {
            // `cargo run` sets it to the libraries of another compiler.
            vars.push(("LD_LIBRARY_PATH", None));
            vars.extend(toolchain.vars().map(|(name, value)| (name, Some(value))));
        }
        vars
    }

    /// Returns whether it can lint guests: clippy belongs to one compiler and works with no other.
    pub fn has_clippy(&self) -> bool {
        matches!(self, Self::Own)
    }

    /// Returns the compiler's name and version.
    ///
    /// # Errors
    ///
    /// Fails if the compiler of the workspace at `root` doesn't report its version.
    pub fn compiler(&self, root: &Path) -> Result<String> {
        match self {
            Self::Own => Ok(format!("rustc {}", Rustc::query(root)?.release)),
            Self::Debian(toolchain) => Ok(toolchain.describe()),
        }
    }

    /// Returns a description for users.
    pub fn describe(&self) -> String {
        match self {
            Self::Own => format!("{TARGET} of the workspace's own toolchain"),
            Self::Debian(toolchain) => format!("{TARGET} of {}", toolchain.describe()),
        }
    }
}

/// The properties of a Rust compiler.
#[derive(Debug)]
struct Rustc {
    /// The version, for example `1.95.0`.
    release: String,
    /// The target of the host, for example `x86_64-unknown-linux-gnu`.
    host: String,
    sysroot: PathBuf,
}

impl Rustc {
    /// Queries the compiler that cargo uses for the workspace at `root`.
    fn query(root: &Path) -> Result<Self> {
        Self::query_program(
            &env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()),
            root,
        )
    }

    fn query_program(program: &OsStr, directory: &Path) -> Result<Self> {
        let ask = |arguments: &[&str]| {
            processes::text_of(Command::new(program).args(arguments).current_dir(directory))
        };
        let version = ask(&["-vV"])?;
        let value_of = |key: &str| {
            value_of(&version, key)
                .map(str::to_owned)
                .with_context(|| format!("`rustc -vV` prints no {key}"))
        };
        Ok(Self {
            release: value_of("release")?,
            host: value_of("host")?,
            sysroot: ask(&["--print", "sysroot"])?.trim().into(),
        })
    }

    /// Returns whether the standard library for the guests' target is installed.
    fn has_target(&self) -> bool {
        let libraries = self.sysroot.join("lib/rustlib").join(TARGET).join("lib");
        let Ok(entries) = libraries.read_dir() else {
            return false;
        };
        entries.flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    }

    /// Returns the folder of the linkers that rustup installs.
    fn linkers(&self) -> PathBuf {
        self.sysroot
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin")
    }
}

/// Returns the path of the WebAssembly linker in rustup's toolchain.
///
/// # Errors
///
/// Fails if the compiler can't be queried for its location.
pub fn linker(root: &Path) -> Result<PathBuf> {
    Ok(Rustc::query(root)?.linkers().join("gcc-ld/wasm-ld"))
}

/// Returns the value of a line `key: value`.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_of_the_workspace_is_understood() {
        let rustc = Rustc::query(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("rustc answers");
        assert!(rustc.release.starts_with("1."), "{rustc:?}");
        assert!(rustc.host.contains('-'), "{rustc:?}");
        assert!(rustc.sysroot.is_dir(), "{rustc:?}");
    }

    #[test]
    fn a_sysroot_without_the_target_is_not_enough() {
        let nowhere = Rustc {
            release: "1.95.0".into(),
            host: "x86_64-unknown-linux-gnu".into(),
            sysroot: "/no/such/sysroot".into(),
        };
        assert!(!nowhere.has_target());
    }

    #[test]
    fn values_are_found_by_their_whole_key() {
        let text = "rustc 1.95.0\nhostile: no\nhost: a-b-c\n";
        assert_eq!(value_of(text, "host"), Some("a-b-c"));
        assert_eq!(value_of(text, "release"), None);
    }

    #[test]
    fn flags_from_outside_never_reach_a_guest_build() {
        let vars = GuestToolchain::Own.vars();
        assert!(vars.contains(&("RUSTFLAGS", None)));
        assert!(vars.contains(&("CARGO_ENCODED_RUSTFLAGS", None)));
    }
}
