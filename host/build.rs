//! Packs the Rust SDK into the program, so that `wasgi new` and single files in Rust need no copy
//! of this repository: writes a list of its files, with their contents, as Rust.

use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What the SDK consists of, in the repository.
const PARTS: [&str; 7] = [
    "guest-sdk/rust/Cargo.toml",
    "guest-sdk/rust/README.md",
    "guest-sdk/rust/examples",
    "guest-sdk/rust/macros",
    "guest-sdk/rust/src",
    "guest-sdk/rust/wit",
    "host/crates/fields",
];

fn main() -> Result<(), Box<dyn Error>> {
    let host = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("no folder")?);
    let repository = host.parent().ok_or("no repository")?;
    let mut files = Vec::new();
    for part in PARTS {
        let path = repository.join(part);
        println!("cargo::rerun-if-changed={}", path.display());
        collect(&path, &mut files)?;
    }
    files.sort();
    let mut list = String::from("[\n");
    for file in files {
        let name = file.strip_prefix(repository)?.display().to_string();
        writeln!(list, "    ({name:?}, include_str!({file:?})),")?;
    }
    list.push(']');
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("no folder for output")?);
    fs::write(out.join("sdk_files.rs"), list)?;
    Ok(())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // Temporary files of editors, and a build's output.
        if !name.starts_with('.') && !name.ends_with('~') && name != "target" {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}
