//! `wasgi wit`: writes the contract, or `wasi:http`, for toolchains that build from a folder of
//! WIT.

mod wasi_http;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli;

/// The contract's text; a test compares it with the one that the host is built on.
const GATEWAY: &str = include_str!("../../../wit/gateway.wit");

/// The file's name in the folder.
const GATEWAY_FILE: &str = "gateway.wit";

/// The accepted names of the contract's world.
const WORLDS: [&str; 4] = [
    "wasgi:gateway/handler",
    "wasgi:gateway/handler@0.1.0",
    "wasgi:gateway",
    "handler",
];

/// Runs `wasgi wit`: writes the contract, or `wasi:http`, to a folder. Does not overwrite a file
/// with different content.
///
/// # Errors
///
/// Fails if the world is unknown, if the folder cannot be written to, or if it has a different
/// contract.
pub fn wit(arguments: &cli::Wit) -> anyhow::Result<ExitCode> {
    let world = &arguments.world;
    let files = if world.starts_with("wasi:") {
        wasi_http::files(world)?
    } else if WORLDS.contains(&&**world) {
        vec![(GATEWAY_FILE.into(), GATEWAY.to_owned())]
    } else {
        bail!(
            "--world {world}: there is no such world; there are {} and wasi:http/proxy",
            WORLDS[0]
        );
    };
    for (name, text) in files {
        write(&arguments.folder.join(name), &text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).with_context(|| format!("{}: can't be made", folder.display()))?;
    match fs::read_to_string(file) {
        Ok(present) if present == text => {
            println!("{shown} is up to date");
            return Ok(());
        }
        Ok(_) => bail!("{shown} contains other files: remove them, or name another folder"),
        Err(_) => {}
    }
    fs::write(file, text).with_context(|| format!("{shown}: can't be written"))?;
    println!("wrote {shown}");
    Ok(())
}
