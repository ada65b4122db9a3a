//! The hidden command of a process that compiles for a server.

use std::process::ExitCode;

use crate::engine::compile;

/// Compiles what the server sends that has started this process, until that ends.
///
/// # Errors
///
/// No server has started it, or the system does not let it be limited.
pub fn compile_for_server(limits: &compile::Limits) -> anyhow::Result<ExitCode> {
    compile::serve(limits)?;
    Ok(ExitCode::SUCCESS)
}
