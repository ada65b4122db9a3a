//! `wasgi config`: prints the configuration of `wasgi serve`.

use std::io::Write;
use std::process::ExitCode;

use crate::cli;

/// Runs `wasgi config`: prints the configuration that `wasgi serve` would use.
///
/// # Errors
///
/// Fails if `wasgi serve` could not start with it.
pub fn config(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    let shown = arguments.load()?.0.show();
    // An error means that the reader has closed the pipe, which is fine.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(ExitCode::SUCCESS)
}
