//! The toolchain that handlers are built with: where it is, how to get it, and the environment
//! that a guest build needs.
//!
//! The target is `wasm32-wasip2`. Where the workspace's own toolchain has it, or rustup can add
//! it, nothing else is needed. Where rustup can't reach its server, Debian's packages do instead
//! (see [`debian`]). Only guest builds may see the environment: the host is always built by the
//! workspace's own toolchain.

mod c;
mod debian;
mod go;

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{self, step};
pub(crate) use c::CToolchain;
pub(crate) use go::GoToolchain;

/// The target that handlers are built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Names the toolchain to take, `rustup` or `debian`, instead of the first that can be had.
const CHOICE: &str = "WASGI_GUEST_TOOLCHAIN";

/// How long `rustup target add` may take. It downloads about 25 MB, which is seconds on most lines
/// and two minutes on one of 2 Mbit/s; a network that swallows packets would make it wait longer.
const RUSTUP_TIME_LIMIT: Duration = Duration::from_secs(180);

/// A toolchain that builds guests, complete and in place.
#[derive(Debug)]
pub(crate) enum GuestToolchain {
    /// The workspace's own toolchain, which has the target.
    Own,
    /// Debian's compiler and C library, with the linkers of the workspace's own toolchain.
    Debian(debian::Toolchain),
}

impl GuestToolchain {
    /// Finds the toolchain, and installs it first where that is needed. Looks at a few files and
    /// runs nothing else when it is there already.
    ///
    /// # Errors
    ///
    /// When it is not there and can't be installed, with what to do about it.
    pub(crate) fn ensure(root: &Path) -> Result<Self> {
        let own = Rustc::query(root)?;
        match env::var(CHOICE).unwrap_or_default().as_str() {
            "" => Self::ensure_any(root, &own),
            "rustup" => Self::ensure_own(root, &own),
            "debian" => Self::ensure_debian(&own),
            other => bail!("{CHOICE} is to be `rustup` or `debian`, not `{other}`"),
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
        step(format!(
            "rustup can't add it ({refusal:#}), trying Debian's packages"
        ));
        Self::ensure_debian(own).with_context(|| {
            format!(
                "the target {TARGET} is missing: run `rustup target add {TARGET}` where rustup has \
                 a network, or `cargo xtask setup` as root on Debian"
            )
        })
    }

    fn ensure_own(root: &Path, own: &Rustc) -> Result<Self> {
        if !own.has_target() {
            step(format!("rustup target add {TARGET}"));
            let mut rustup = Command::new("rustup");
            rustup.args(["target", "add", TARGET]).current_dir(root);
            process::run_quietly(&mut rustup, RUSTUP_TIME_LIMIT)?;
            if !own.has_target() {
                bail!(
                    "rustup added {TARGET} to another toolchain than {}",
                    own.sysroot.display()
                );
            }
        }
        Ok(Self::Own)
    }

    fn ensure_debian(own: &Rustc) -> Result<Self> {
        if let Ok(toolchain) = debian::Toolchain::find(own) {
            return Ok(Self::Debian(toolchain));
        }
        debian::install()?;
        debian::Toolchain::find(own)
            .map(Self::Debian)
            .context("Debian's packages are not enough")
    }

    /// Gives a cargo command the environment that it needs to build guests, and takes away what
    /// would disturb it.
    pub(crate) fn apply_to(&self, cargo: &mut Command) {
        for (name, value) in self.vars() {
            match value {
                Some(value) => cargo.env(name, value),
                None => cargo.env_remove(name),
            };
        }
    }

    /// The environment of a guest build. Variables that are to be absent come without a value.
    fn vars(&self) -> Vec<(&'static str, Option<OsString>)> {
        // These two would displace the target's own flags: the lean ones in `.cargo/config.toml`,
        // and the ones that Debian's compiler needs.
        let mut vars = vec![("RUSTFLAGS", None), ("CARGO_ENCODED_RUSTFLAGS", None)];
        if let Self::Debian(toolchain) = self {
            // Set by `cargo run`: the libraries of a compiler that is not the one that runs.
            vars.push(("LD_LIBRARY_PATH", None));
            vars.extend(toolchain.vars().map(|(name, value)| (name, Some(value))));
        }
        vars
    }

    /// Whether it can lint guests too: clippy is part of one compiler and works with no other.
    pub(crate) fn has_clippy(&self) -> bool {
        matches!(self, Self::Own)
    }

    /// The compiler's name and version.
    ///
    /// # Errors
    ///
    /// When the compiler of the workspace at `root` does not tell its version.
    pub(crate) fn compiler(&self, root: &Path) -> Result<String> {
        match self {
            Self::Own => Ok(format!("rustc {}", Rustc::query(root)?.release)),
            Self::Debian(toolchain) => Ok(toolchain.describe()),
        }
    }

    /// What it is, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Own => format!("{TARGET} of the workspace's own toolchain"),
            Self::Debian(toolchain) => format!("{TARGET} of {}", toolchain.describe()),
        }
    }
}

/// What a Rust compiler says of itself.
#[derive(Debug)]
struct Rustc {
    /// `1.95.0`.
    release: String,
    /// `x86_64-unknown-linux-gnu`.
    host: String,
    sysroot: PathBuf,
}

impl Rustc {
    /// Asks the compiler that cargo takes for the workspace at `root`.
    fn query(root: &Path) -> Result<Self> {
        Self::query_program(
            &env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()),
            root,
        )
    }

    fn query_program(program: &OsStr, directory: &Path) -> Result<Self> {
        let ask = |arguments: &[&str]| {
            process::text_of(Command::new(program).args(arguments).current_dir(directory))
        };
        let version = ask(&["-vV"])?;
        let value_of = |key: &str| {
            value_of(&version, key)
                .map(str::to_owned)
                .with_context(|| format!("`rustc -vV` names no {key}"))
        };
        Ok(Self {
            release: value_of("release")?,
            host: value_of("host")?,
            sysroot: ask(&["--print", "sysroot"])?.trim().into(),
        })
    }

    /// Whether its standard library is there for the guests' target.
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

    /// Where rustup keeps the linkers that come with it.
    fn linkers(&self) -> PathBuf {
        self.sysroot
            .join("lib/rustlib")
            .join(&self.host)
            .join("bin")
    }
}

/// The linker for WebAssembly that comes with rustup's toolchain.
///
/// # Errors
///
/// When the compiler can't be asked where it is.
pub(crate) fn linker(root: &Path) -> Result<PathBuf> {
    Ok(Rustc::query(root)?.linkers().join("gcc-ld/wasm-ld"))
}

/// The value in a line `key: value`.
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
