//! The project's own commands, run as `cargo xtask <command>`: set-up, build, serve, test.

mod guest_toolchain;
mod process;

use std::path::Path;

use anyhow::{Context, Result};

use crate::guest_toolchain::GuestToolchain;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("no workspace")?;
    let toolchain = GuestToolchain::ensure(root)?;
    process::step(format!("guests are built with {}", toolchain.describe()));
    for (name, value) in toolchain.vars() {
        match value {
            Some(value) => println!("export {name}={:?}", value),
            None => println!("unset {name}"),
        }
    }
    process::run(&mut std::process::Command::new("true"))
}
