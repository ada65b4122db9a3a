//! The compiled part of the Python SDK: a WebAssembly library that is linked into each component.
//! It is built from `guest-sdk/python/native` and is tracked in the repository, since users of the
//! SDK have no compiler for it. `cargo xtask python-native [--check]` runs this program.
//!
//! A record beside the sources contains hashes of the sources and the library, and the compiler's
//! version. A test compares it with the files; `cargo xtask python-native --check` rebuilds the
//! library, which gives the same bytes with the same compiler.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use builder::Workspace;
use builder::toolchain::{self, GuestToolchain};
use processes::step;

/// The library's sources.
const CRATE: &str = "guest-sdk/python/native";

/// The library's path, whose name makes it a Python module.
const LIBRARY: &str = "guest-sdk/python/src/wasgi/guest/_native.cpython-314-wasm32-wasi.so";

/// The record of the build's inputs.
const RECORD: &str = "guest-sdk/python/native/built.txt";

/// The compiled crate, which is an archive of objects, and the name of the crate's own object.
const ARCHIVE: &str = "libwasgi_python_native.a";
const OBJECT: &str = "wasgi_python_native";

/// The function that Python calls to import the module.
const ENTRY: &str = "PyInit__native";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    match Workspace::load().and_then(|workspace| run(&workspace, &arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("python-native: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the library and installs it with its
/// record, or compares it with the installed one.
///
/// # Errors
///
/// Fails if it does not build, or differs from the installed one.
fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let is_check = match arguments {
        [] => false,
        [argument] if argument == "--check" => true,
        [argument, ..] => bail!(
            "unknown option {}; the only one is --check",
            argument.display()
        ),
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
        step(format!("{LIBRARY} matches its sources"));
        return Ok(());
    }
    bail!(
        "{LIBRARY}: does not match its sources. It was built from:\n{recorded}This build \
         has:\n{record}A different compiler produces different bytes. If the compiler is the \
         same, run `cargo xtask python-native` to rebuild it."
    );
}

/// Returns the record: a hash of the sources, a hash of the library, and the compiler.
fn record(root: &Path, library: &[u8], compiler: &str) -> Result<String> {
    let sources = sources(root)?;
    let library = blake3::hash(library);
    Ok(format!(
        "sources {sources}\nlibrary {library}\ncompiler {compiler}\n"
    ))
}

/// Returns a hash of the names and contents of the library's sources.
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
        // The length prefix prevents other files from producing the same bytes.
        hasher.update(name.as_encoded_bytes());
        hasher.update(format!("\0{}\0", content.len()).as_bytes());
        hasher.update(&content);
    }
    Ok(hasher.finalize())
}

/// Builds the library in the target folder, and returns its path.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target.join("python/native");
    step("building the Python SDK's compiled part");
    let mut cargo = workspace.cargo("build");
    cargo
        .args([
            "--release",
            "--target",
            toolchain::TARGET,
            "--manifest-path",
        ])
        .arg(workspace.root.join(CRATE).join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        // The address of a dynamically linked library is unknown at build time.
        .env("RUSTFLAGS", "-C relocation-model=pic");
    processes::run(&mut cargo)?;
    let built = target.join(toolchain::TARGET).join("release");
    let objects = target.join("objects");
    let object = extract(&built.join(ARCHIVE), &objects)?;
    let output = target.join("library.so");
    processes::run(
        Command::new(toolchain::linker(&workspace.root)?)
            .args([
                "-shared",
                "--experimental-pic",
                "--strip-all",
                "--gc-sections",
            ])
            .arg(format!("--export={ENTRY}"))
            // The functions of Python and of the C library are resolved when the component is
            // linked.
            .arg("--unresolved-symbols=import-dynamic")
            .arg("-o")
            .arg(&output)
            .arg(object),
    )?;
    Ok(output)
}

/// Extracts the crate's own object from an archive: link-time optimization has moved all called
/// functions into it, and the other objects are not compiled for a shared library.
fn extract(archive: &Path, folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    processes::run(Command::new("ar").arg("x").arg(archive).current_dir(folder))?;
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
    bail!("{}: contains no object {OBJECT}", archive.display())
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
            "{CRATE} or {LIBRARY} has changed: run `cargo xtask python-native`"
        );
    }
}
