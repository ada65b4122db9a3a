//! The runtime for handlers in JavaScript: a package in Rust with an interpreter in C, built for
//! the sandbox.
//!
//! It needs clang in addition to the toolchain of Rust's handlers. Without clang, this prints a
//! line and does nothing. No Node.js is needed.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use processes::{run, step, text_of};
use serde_json::Value;

use crate::freshness::is_newer;
use crate::toolchain::{self, GuestToolchain};
use crate::workspace::Workspace;

/// The package of the runtime.
const PACKAGE: &str = "guest-sdk/javascript";

/// The crate that contains the interpreter's sources, and the C library's headers.
const INTERPRETER: &str = "rquickjs-sys";

/// The compiler's program.
const CLANG: &str = "clang";

/// The runtime's stack, in bytes: several times what the interpreter allows a handler.
const LINKED: &str = "target.wasm32-wasip2.rustflags=[\"-Clink-arg=-zstack-size=1048576\"]";

/// Options for the interpreter's sources, in addition to the folders of headers. For WASI itself
/// they don't check the stack, which a sandbox has as well; the other name is that of a system
/// whose allocator tells the size of a block.
const FLAGS: &str = "-nostdlibinc -U__wasi__ -D__ANDROID__";

/// Builds the runtime in the target folder, where a server that was built there finds it. Skips it
/// if it is newer than its sources, or if there is no compiler for it.
///
/// # Errors
///
/// Fails if a crate can't be fetched, or the runtime doesn't build.
pub fn build_runtime(workspace: &Workspace, toolchain: &GuestToolchain) -> Result<()> {
    let package = workspace.root.join(PACKAGE);
    let output = workspace.target.join("runtime/javascript/javascript.wasm");
    let sources = ["Cargo.toml", "Cargo.lock", "src", "platform", "include"];
    let mut sources: Vec<PathBuf> = sources.map(|source| package.join(source)).to_vec();
    sources.push(workspace.root.join("wit"));
    if is_newer(&output, &sources) {
        return Ok(());
    }
    if !has_clang() {
        step(
            "skipping the runtime for scripts in JavaScript: no clang that compiles for wasm32 \
             (Debian: apt-get install clang)",
        );
        return Ok(());
    }
    step("building the runtime for scripts in JavaScript (target/runtime)");
    let manifest = package.join("Cargo.toml");
    let built = workspace.target.join("javascript");
    let mut cargo = workspace.cargo("build");
    toolchain.apply_to(&mut cargo);
    cargo
        .args(["--release", "--locked", "--config", LINKED])
        .args(["--target", toolchain::TARGET, "--manifest-path"])
        .arg(&manifest)
        .arg("--target-dir")
        .arg(&built)
        .env("RQUICKJS_SYS_NO_WASI_SDK", "1")
        .env("CC_wasm32_wasip2", CLANG)
        .env("CFLAGS_wasm32_wasip2", flags(workspace, &package)?);
    run(&mut cargo)?;
    let made = built
        .join(toolchain::TARGET)
        .join("release/wasgi_javascript.wasm");
    let folder = output.parent().unwrap_or(&workspace.target);
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    // Renamed, because a server may be reading the old one.
    let draft = folder.join(".javascript.wasm");
    fs::copy(&made, &draft).with_context(|| format!("can't copy {}", made.display()))?;
    fs::rename(&draft, &output).with_context(|| format!("can't write {}", output.display()))
}

/// Returns whether clang compiles for WebAssembly.
fn has_clang() -> bool {
    let mut probe = Command::new(CLANG);
    probe
        .args([
            "--target=wasm32-wasip2",
            "-xc",
            "-c",
            "-o",
            "/dev/null",
            "-",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Returns the compiler's options, with the folders of the headers.
fn flags(workspace: &Workspace, package: &Path) -> Result<OsString> {
    let mut metadata = workspace.cargo("metadata");
    metadata
        .args(["--format-version=1", "--locked", "--manifest-path"])
        .arg(package.join("Cargo.toml"));
    let metadata: Value = serde_json::from_str(&text_of(&mut metadata)?)?;
    let packages = metadata["packages"].as_array();
    let manifest = packages
        .into_iter()
        .flatten()
        .find(|package| package["name"] == INTERPRETER)
        .and_then(|package| package["manifest_path"].as_str())
        .with_context(|| format!("{PACKAGE} doesn't depend on {INTERPRETER}"))?;
    let headers = Path::new(manifest).with_file_name("vendor/wasi-libc/include");
    let mut flags = OsString::from(FLAGS);
    for folder in [headers, package.join("include")] {
        flags.push(" -isystem ");
        flags.push(folder);
    }
    Ok(flags)
}
