//! `cargo xtask bench` and `cargo xtask instructions`: build the benchmark program (`tools/bench`)
//! and what it measures, and run it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use builder::toolchain::GuestToolchain;
use builder::{Workspace, handlers, server, site};
use processes::{run, step};

use crate::tool::become_program;

/// The package of the benchmark program.
pub(crate) const PACKAGE: &str = "bench";

/// The package of the component for `wasmtime serve`.
const WASI_HTTP: &str = "wasi-http-hello";

/// Compares the server with others. The arguments are those of `bench compare`.
///
/// # Errors
///
/// Fails if an argument is invalid, a package does not build, or the program fails.
pub(crate) fn bench(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let program = build(workspace)?;
    let compare = || {
        let mut command = Command::new(&program);
        command.arg("compare");
        command
    };
    // Before anything else is built, which takes minutes.
    run(compare().args(["--check", "--"]).args(arguments))?;
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        return Ok(());
    }
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    site::build(workspace, &[])?;
    let wasi_http = handlers::build_package(workspace, &toolchain, WASI_HTTP)?;
    let wasgi = workspace.target.join("release/wasgi");
    if !arguments.iter().any(|word| word == "--server") {
        server::build(workspace)?;
    }
    let mut command = compare();
    with_path(&mut command, "--root", &workspace.root);
    with_path(&mut command, "--target", &workspace.target);
    with_path(&mut command, "--wasgi", &wasgi);
    with_path(&mut command, "--wasi-http", &wasi_http);
    become_program(command.arg("--").args(arguments))
}

/// Counts the instructions of a request. With `--write` it stores the count; with `--server FILE`
/// it uses a server that has already been built.
///
/// # Errors
///
/// Fails if an argument is invalid, a package does not build, or the count can't be stored.
pub(crate) fn instructions(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    let (mut write, mut program) = (false, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--write") => write = true,
            Some("--server") => match words.next() {
                Some(file) => program = Some(PathBuf::from(file)),
                None => bail!("--server needs a value"),
            },
            _ => bail!("unknown option {}", word.display()),
        }
    }
    let toolchain = GuestToolchain::ensure(&workspace.root)?;
    let demos = handlers::build_tracked(workspace, &toolchain, None)?;
    let mut command = Command::new(build(workspace)?);
    let program = match program {
        Some(program) => program,
        None => server::build(workspace)?,
    };
    command.arg("instructions");
    with_path(&mut command, "--root", &workspace.root);
    with_path(&mut command, "--target", &workspace.target);
    with_path(&mut command, "--handler", demos.join("hello.wasm"));
    with_path(&mut command, "--wasgi", program);
    if write {
        command.arg("--write");
    }
    become_program(&mut command)
}

/// Builds the benchmark program and returns its path.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    step("building the benchmark program");
    run(workspace
        .cargo("build")
        .args(["--release", "--package", PACKAGE, "--all-features"]))?;
    Ok(workspace.target.join("release").join(PACKAGE))
}

fn with_path(command: &mut Command, name: &str, path: impl AsRef<OsStr>) {
    command.arg(name).arg(path);
}
