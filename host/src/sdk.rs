//! The Rust SDK, which is part of the program: until its crates are published, a handler depends on
//! a copy that is written to its site.

use std::fs;
use std::io;
use std::path::Path;

/// The files of the SDK: path and content.
const FILES: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/sdk_files.rs"));

/// The folder of the crate `wasgi-sdk` in the SDK.
pub(crate) const RUST: &str = "guest-sdk/rust";

/// The profile of handlers' packages: small programs, which touch few pages per request.
pub(crate) const PROFILE: &str = "\
[profile.release]
opt-level = \"s\"
lto = true
codegen-units = 1
panic = \"abort\"
strip = true
";

/// The workspace of the SDK's crates.
const WORKSPACE: &str = concat!(
    "# The Rust SDK of wasgi, written by `wasgi new`.\n",
    "[workspace]\n",
    "resolver = \"3\"\n",
    "members = [\"guest-sdk/rust\", \"guest-sdk/rust/macros\", \"host/crates/fields\"]\n\n",
    "[workspace.package]\n",
    "version = \"",
    env!("CARGO_PKG_VERSION"),
    "\"\nedition = \"2024\"\nrust-version = \"",
    env!("CARGO_PKG_RUST_VERSION"),
    "\"\nlicense = \"Apache-2.0 WITH LLVM-exception\"\n\n",
    "[workspace.lints]\n",
);

/// Returns all files: path and content.
pub(crate) fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    let workspace = std::iter::once(("Cargo.toml", WORKSPACE));
    workspace.chain(FILES.iter().copied())
}

/// Writes the SDK to a folder. Files that exist already with this content are not touched, so that
/// what depends on them isn't compiled again.
///
/// # Errors
///
/// Fails if a file can't be written.
pub(crate) fn write(folder: &Path) -> io::Result<()> {
    for (name, text) in files() {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|present| present == text.as_bytes()) {
            continue;
        }
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_complete_and_written_once() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        for name in ["Cargo.toml", "guest-sdk/rust/wit/gateway.wit"] {
            assert!(folder.path().join(name).is_file(), "{name}");
        }
        let workspace: toml::Table = WORKSPACE.parse().expect("TOML");
        for member in workspace["workspace"]["members"]
            .as_array()
            .expect("a list")
        {
            let manifest = folder.path().join(member.as_str().expect("a path"));
            assert!(manifest.join("Cargo.toml").is_file(), "{member}");
        }
        let written = |name: &str| fs::metadata(folder.path().join(name)).expect("there");
        let before = written("Cargo.toml").modified().expect("a time");
        write(folder.path()).expect("written again");
        assert_eq!(written("Cargo.toml").modified().expect("a time"), before);
    }
}
