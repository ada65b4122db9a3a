//! `wasgi build`: builds a portable `.wasm` file from a handler's sources. What a handler's sources
//! are decides how it is built: `script` has the ways for scripts, `project` those of compilers.

mod output;
mod project;
mod script;

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;

use super::projects;
use super::site::find_handler;
use crate::cli;
use crate::reload;

/// Runs `wasgi build`.
///
/// # Errors
///
/// Fails if the configuration is invalid, if the handler doesn't exist or can't be built, or if the
/// file can't be written.
pub fn build(arguments: &cli::Build) -> anyhow::Result<ExitCode> {
    let resolved = arguments.site.load()?;
    if let Some(project) = projects::find_source(&arguments.handler, &resolved.config) {
        if project.kind.has_artifact() {
            project::build(arguments, &resolved, &project)?;
            return Ok(ExitCode::SUCCESS);
        }
        projects::build(&project, &projects::options(&resolved.config, false)?)?;
    }
    let handler = find_handler(&arguments.handler, resolved.config.site.handlers())?;
    match Sources::from_path(&handler) {
        Some(Sources::Script) => script::build(arguments, &resolved, &handler)?,
        None => bail!(
            "{}: is not source code: it is what a build produces, and runs as it is",
            handler.display()
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// What a handler's sources are.
enum Sources {
    /// A script, in one file or a folder.
    Script,
}

impl Sources {
    /// Returns what the handler at this path has, or none if it is WebAssembly already.
    fn from_path(handler: &Path) -> Option<Self> {
        let is_script = handler.is_dir() || reload::script_language(handler).is_some();
        is_script.then_some(Self::Script)
    }
}
