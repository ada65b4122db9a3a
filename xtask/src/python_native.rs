//! What of the Python SDK is compiled: one library of WebAssembly, which is linked into each
//! component. It is built from `guest-sdk/python/native` and is part of the repository, since
//! those who install the SDK have no compiler for it.
//!
//! A record beside the sources says of what and by what it was built. A test compares it with the
//! sources and the library; `cargo xtask python-native --check` builds again, which gives the same
//! bytes wherever the compiler is the same.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::{self, GuestToolchain};
use crate::process;
use crate::process::step;
use crate::workspace::Workspace;

/// The library's sources.
const CRATE: &str = "guest-sdk/python/native";

/// Where it is for Python, by the name that makes it a module there.
const LIBRARY: &str = "guest-sdk/python/src/wasgi/guest/_native.cpython-314-wasm32-wasi.so";

/// The record of what it was built of.
const RECORD: &str = "guest-sdk/python/native/built.txt";

/// The compiled crate, as an archive of objects, and how the object of the crate itself is called.
const ARCHIVE: &str = "libwasgi_python_native.a";
const OBJECT: &str = "wasgi_python_native";

/// The function that Python calls to import the module.
const ENTRY: &str = "PyInit__native";

/// `cargo xtask python-native [--check]`: builds the library and puts it in its place, with its
/// record; or compares it with the one that is there.
///
/// # Errors
///
/// When it does not build, or is another one than is there.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let is_check = match arguments {
        [] => false,
        [argument] if argument == "--check" => true,
        [argument, ..] => bail!("python-native takes --check, not {}", argument.display()),
    };
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let built = build(workspace)?;
    let library = fs::read(&built).with_context(|| format!("can't read {}", built.display()))?;
    let record = record(
        &workspace.root,
        &library,
        &toolchain.compiler(&workspace.root)?,
    )?;
    if !is_check {
        fs::write(workspace.root.join(LIBRARY), library).context(LIBRARY)?;
        fs::write(workspace.root.join(RECORD), record).context(RECORD)?;
        step(format!("wrote {LIBRARY}"));
        return Ok(());
    }
    let recorded = fs::read_to_string(workspace.root.join(RECORD)).context(RECORD)?;
    if recorded == record {
        step(format!("{LIBRARY} is what its sources give"));
        return Ok(());
    }
    bail!(
        "{LIBRARY} is another one than its sources give here:\n{recorded}is what it was built of, \
         and here is\n{record}Another compiler gives other bytes; otherwise, `cargo xtask \
         python-native` builds it again"
    );
}

/// What the library was built of: a hash of the sources, one of the library, and the compiler.
fn record(root: &Path, library: &[u8], compiler: &str) -> Result<String> {
    let sources = sources(root)?;
    let library = blake3::hash(library);
    Ok(format!(
        "sources {sources}\nlibrary {library}\ncompiler {compiler}\n"
    ))
}

/// A hash over the names and contents of all that the library is built from.
fn sources(root: &Path) -> Result<blake3::Hash> {
    let folder = root.join(CRATE);
    let mut files = vec![folder.join("Cargo.toml"), folder.join("Cargo.lock")];
    let sources = folder.join("src");
    let entries = sources
        .read_dir()
        .with_context(|| format!("can't read {}", sources.display()))?;
    for entry in entries {
        files.push(entry?.path());
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let content = fs::read(&file).with_context(|| format!("can't read {}", file.display()))?;
        let name = file.file_name().unwrap_or_default();
        // With its length in front, so that no other files give the same bytes.
        hasher.update(name.as_encoded_bytes());
        hasher.update(format!("\0{}\0", content.len()).as_bytes());
        hasher.update(&content);
    }
    Ok(hasher.finalize())
}

/// Builds the library below the target folder, and returns where it is.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("python/native");
    step("building the Python SDK's compiled part");
    let mut cargo = workspace.cargo("build");
    cargo
        .args([
            "--release",
            "--target",
            guest_toolchain::TARGET,
            "--manifest-path",
        ])
        .arg(workspace.root.join(CRATE).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // A library that is linked late does not know its address.
        .env("RUSTFLAGS", "-C relocation-model=pic");
    process::run(&mut cargo)?;
    let built = target.join(guest_toolchain::TARGET).join("release");
    let objects = target.join("objects");
    let object = extract(&built.join(ARCHIVE), &objects)?;
    let output = target.join("library.so");
    process::run(
        Command::new(guest_toolchain::linker(&workspace.root)?)
            .args([
                "-shared",
                "--experimental-pic",
                "--strip-all",
                "--gc-sections",
            ])
            .arg(format!("--export={ENTRY}"))
            // Python's functions and the C library's are found when the component is linked.
            .arg("--unresolved-symbols=import-dynamic")
            .arg("-o")
            .arg(&output)
            .arg(object),
    )?;
    Ok(output)
}

/// Takes the crate's own object out of an archive: link-time optimization has put all that is
/// called into it, and the others are not made for a library.
fn extract(archive: &Path, folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    process::run(Command::new("ar").arg("x").arg(archive).current_dir(folder))?;
    let entries = folder
        .read_dir()
        .with_context(|| format!("can't read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(OBJECT) {
            return Ok(path);
        }
    }
    bail!("{} has no object of {OBJECT}", archive.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_part_is_built_of_its_sources() {
        let root = Workspace::load().expect("cargo describes it").root;
        let recorded = fs::read_to_string(root.join(RECORD)).expect("it has a record");
        let compiler = recorded
            .lines()
            .find_map(|line| line.strip_prefix("compiler "));
        let library = fs::read(root.join(LIBRARY)).expect("it is there");
        let record = record(&root, &library, compiler.expect("a compiler")).expect("readable");
        assert_eq!(
            recorded, record,
            "{CRATE} or {LIBRARY} has changed: `cargo xtask python-native` builds it again"
        );
    }
}
