//! What of the Python SDK is compiled: one library of WebAssembly, which is linked into each
//! component. It is built from `guest-sdk/python/native` and is part of the repository, since
//! those who install the SDK have no compiler for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::guest_toolchain::{self, GuestToolchain};
use crate::process::{run, step};
use crate::workspace::Workspace;

/// The library's sources.
const CRATE: &str = "guest-sdk/python/native";

/// Where it is for Python, by the name that makes it a module there.
const LIBRARY: &str = "guest-sdk/python/src/wasgi/guest/_native.cpython-314-wasm32-wasi.so";

/// The compiled crate, as an archive of objects, and how the object of the crate itself is called.
const ARCHIVE: &str = "libwasgi_python_native.a";
const OBJECT: &str = "wasgi_python_native";

/// The function that Python calls to import the module.
const ENTRY: &str = "PyInit__native";

/// Builds the library and puts it in its place.
///
/// # Errors
///
/// When it does not build.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    GuestToolchain::ensure(&workspace.root)?;
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
    run(&mut cargo)?;
    let built = target.join(guest_toolchain::TARGET).join("release");
    let objects = target.join("objects");
    let object = extract(&built.join(ARCHIVE), &objects)?;
    let output = workspace.root.join(LIBRARY);
    run(Command::new(guest_toolchain::linker(&workspace.root)?)
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
        .arg(object))?;
    step(format!("wrote {LIBRARY}"));
    Ok(())
}

/// Takes the crate's own object out of an archive: link-time optimization has put all that is
/// called into it, and the others are not made for a library.
fn extract(archive: &Path, folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("can't empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    run(Command::new("ar").arg("x").arg(archive).current_dir(folder))?;
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
