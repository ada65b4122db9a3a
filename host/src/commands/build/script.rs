//! Builds a script: an interpreter that has loaded it, and the files that it may read.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::bail;

use super::output::Output;
use crate::cli;
use crate::config::ResolvedConfig;
use crate::drive::Mount;
use crate::engine::Engine;
use crate::printable;

/// Builds a script.
///
/// # Errors
///
/// Fails if the application can't be imported, or the file can't be written.
pub(super) fn build(
    arguments: &cli::Build,
    resolved: &ResolvedConfig,
    handler: &Path,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let config = &resolved.config;
    let output = Output::new(arguments.output.as_deref(), handler)?;
    let bytes = match handler.is_dir() {
        true => Vec::new(),
        false => fs::read(handler)?,
    };
    let engine = Engine::new(&config.budget, &config.compile, config.site.code_cache())?
        .with_runtime(config.site.runtime().as_deref());
    let mount = Mount::for_file(handler, config.site.handlers());
    let (component, said) = match engine.build(mount.name(), handler, &bytes, arguments.release) {
        Ok(built) => built,
        Err(error) => {
            let told = error.to_string();
            let told = told.strip_prefix("not loaded: ").unwrap_or(&told);
            let told = printable::one_line(told);
            bail!("{}: not built: {told}", handler.display())
        }
    };
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        eprintln!("{}", printable::one_line(line));
    }
    output.write(&component)?;
    let size = component.len() as f64 / 1e6;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}: {size:.1} MB, in {seconds:.1} s", output.shown());
    if !arguments.release {
        println!("its requests cost less if it is built with --release");
    }
    Ok(())
}
