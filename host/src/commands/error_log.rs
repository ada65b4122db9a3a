//! The log of commands that serve no clients: lines on standard error.

use std::io;

use crate::config::Config;
use crate::log::{self, Log};
use crate::terminal;

/// Starts the log, for all messages.
///
/// # Errors
///
/// Fails if the system cannot create a thread.
pub(super) fn start(config: &Config) -> anyhow::Result<Log> {
    let errors = Log::start("error", io::stderr(), &config.log)?;
    log::install(errors.clone(), log::LEVEL, has_colours());
    Ok(errors)
}

/// Starts the log, for the messages that say what was denied to a handler.
///
/// # Errors
///
/// Fails if the system cannot create a thread.
pub(super) fn start_for_denials(config: &Config) -> anyhow::Result<Log> {
    let errors = Log::start("error", io::stderr(), &config.log)?;
    log::install_denials(errors.clone(), has_colours());
    Ok(errors)
}

fn has_colours() -> bool {
    terminal::has_colours(&io::stderr())
}
