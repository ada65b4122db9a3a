//! Builds a project by its compiler.

use std::fs;
use std::time::Instant;

use anyhow::Context;

use super::output::Output;
use crate::cli;
use crate::commands::projects;
use crate::config::ResolvedConfig;
use crate::reload::projects::Project;

/// Builds a project whose compiler writes a program.
///
/// # Errors
///
/// Fails if it can't be built, or the file can't be written.
pub(super) fn build(
    arguments: &cli::Build,
    resolved: &ResolvedConfig,
    project: &Project,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let output = Output::new(arguments.output.as_deref(), &project.path)?;
    let artifact = projects::build(project, &projects::options(&resolved.config, false)?)?;
    let program =
        fs::read(&artifact).with_context(|| format!("{}: can't be read", artifact.display()))?;
    output.write(&program)?;
    let size = program.len() as f64 / 1e6;
    let seconds = begun.elapsed().as_secs_f64();
    println!("{}: {size:.1} MB, in {seconds:.1} s", output.shown());
    Ok(())
}
