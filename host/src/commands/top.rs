//! `wasgi top`: shows what a running server does.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;

use anyhow::bail;

use crate::admin::AdminAddr;
use crate::cli;
use crate::printable;
use crate::top::{Report, Sample, screen, text};

/// Runs `wasgi top`: shows reports in a terminal, or prints one per interval until it is
/// interrupted, or one.
///
/// # Errors
///
/// Fails if the address of the admin listener is unknown, or it doesn't answer the first time.
pub fn top(arguments: &cli::Top) -> anyhow::Result<ExitCode> {
    let addr = match &arguments.admin {
        Some(addr) => addr.clone(),
        None => configured(arguments)?,
    };
    let is_text = arguments.once || arguments.json;
    if !is_text && io::stdout().is_terminal() && io::stdin().is_terminal() {
        screen::show(addr, arguments.interval)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut before = Sample::read(&addr)?;
    let mut is_away = false;
    loop {
        thread::sleep(arguments.interval);
        match Sample::read(&addr) {
            Ok(now) => {
                let report = Report::between(&before, &now);
                (before, is_away) = (now, false);
                if !print(&report, arguments)? {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Err(error) if arguments.once => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut is_away, true) {
                    let error = format!("{error:#}");
                    eprintln!("wasgi: {}; trying again", printable::one_line(&error));
                }
            }
        }
        if arguments.once {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// Prints a report. Returns whether the reader of the standard output is still there.
fn print(report: &Report, arguments: &cli::Top) -> anyhow::Result<bool> {
    let text = match (arguments.json, arguments.once) {
        (true, true) => format!("{}\n", serde_json::to_string_pretty(report)?),
        (true, false) => format!("{}\n", serde_json::to_string(report)?),
        (false, true) => text(report),
        (false, false) => format!("{}\n", text(report)),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => bail!("standard output: {error}"),
    }
}

/// Returns the address in `wasgi.toml`.
fn configured(arguments: &cli::Top) -> anyhow::Result<AdminAddr> {
    let (resolved, file) = arguments.load()?;
    let file = file.display();
    match resolved.config.admin.addr {
        Some(AdminAddr::Tcp(addr)) if addr.port() == 0 => bail!(
            "{file}: admin.addr has port 0, so the system chooses one: pass --admin with the \
             address that the server prints when it starts"
        ),
        Some(addr) => Ok(addr),
        None => bail!(
            "{file}: admin.addr is not set, so there is no admin listener: set it and restart the \
             server, or pass --admin"
        ),
    }
}
