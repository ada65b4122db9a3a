//! The hidden command of a process that compiles handlers for a server.

use std::process::ExitCode;

use crate::engine::compile;

/// Compiles the handlers that the parent server sends, until the server exits.
///
/// # Errors
///
/// Fails if no server started this process, or if the system does not allow limiting it.
pub fn compile_for_server(limits: &compile::Limits) -> anyhow::Result<ExitCode> {
    compile::serve(limits)?;
    Ok(ExitCode::SUCCESS)
}
