//! `wasgi check`: what handlers do wrong, in plain words.

use std::io::Write;
use std::process::ExitCode;

use crate::check::{self, Report};
use crate::cli;
use crate::drive::Driver;
use crate::engine::Engine;
use crate::log::{self, Log};
use crate::printable;

/// The exit code for a command line that makes no sense, as clap has it.
const USAGE: u8 = 2;

/// `wasgi check`: checks handlers against the contract. Exit code 1 if one of them breaks a rule.
///
/// # Errors
///
/// Fails when the configuration is wrong, or the system gives no threads.
pub fn check(arguments: &cli::Check) -> anyhow::Result<ExitCode> {
    let config = arguments.trial.load()?.config;
    let errors = Log::start("error", std::io::stderr(), &config.log)?;
    if arguments.log {
        log::install(errors.clone(), log::LEVEL, log::wants_colours());
    }
    let engine = Engine::new(&config.budget, &config.compile, config.site.code_cache())?
        .with_runtime(config.site.runtime());
    let driver = Driver::new(&engine, &config)?;
    let mut report = Report::default();
    for file in &arguments.files {
        let target = arguments.path.as_deref();
        match check::check(&engine, &driver, file, config.site.handlers(), target) {
            Ok(file) => report.files.push(file),
            Err(error) => {
                let path = target.unwrap_or_default();
                eprintln!("wasgi: --path {}: {error}", printable::one_line(path));
                return Ok(ExitCode::from(USAGE));
            }
        }
    }
    let shown = if arguments.json {
        printable::json(&format!("{:#}\n", report.json())).to_string()
    } else {
        printable::report(&report.to_string()).to_string()
    };
    errors.flush();
    // Whoever reads may have read enough.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(if report.has_errors() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
