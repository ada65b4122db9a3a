//! `wasgi config`: what `wasgi serve` would go by.

use std::io::Write;
use std::process::ExitCode;

use crate::cli;

/// `wasgi config`: prints what `wasgi serve` would go by.
///
/// # Errors
///
/// Fails when it could not start with it.
pub fn config(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    let shown = arguments.load()?.0.show();
    // Whoever reads may have read enough.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(ExitCode::SUCCESS)
}
