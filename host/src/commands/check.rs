//! `wasgi check`: reports what handlers do wrong.

use std::io::Write;
use std::process::ExitCode;

use super::error_log;
use crate::check::{self, Report};
use crate::cli;
use crate::drive::Driver;
use crate::engine::Engine;
use crate::printable;
use crate::terminal::{self, Style};

/// The exit code for an invalid command line, as in clap.
const USAGE: u8 = 2;

/// The styles of the words at the beginnings of findings.
const STYLES: [(&str, Style); 2] = [("error", Style::RED), ("warning", Style::YELLOW)];

/// Runs `wasgi check`: checks handlers against the contract. Returns exit code 1 if one of them
/// breaks a rule.
///
/// # Errors
///
/// Fails if the configuration is invalid, or if the system cannot create threads.
pub fn check(arguments: &cli::Check) -> anyhow::Result<ExitCode> {
    let site = arguments.trial.load()?;
    let config = &site.config;
    let errors = match arguments.log {
        true => error_log::start(config)?,
        false => error_log::start_for_denials(config)?,
    };
    let engine = Engine::new(&config.budget, &config.compile, config.site.code_cache())?
        .with_runtime(config.site.runtime().as_deref())
        .with_store(config.store());
    let policies = config.policies()?;
    engine.set_policies(policies.clone());
    let driver = Driver::new(&engine, policies)?;
    let mut report = Report::default();
    for file in &arguments.files {
        let target = arguments.path.as_deref();
        match check::check(&engine, &driver, file, &site.mount(file), target) {
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
        let shown = printable::report(&report.to_string()).to_string();
        match terminal::has_colours(&std::io::stdout()) {
            true => terminal::paint_words(&shown, &STYLES),
            false => shown,
        }
    };
    errors.flush();
    // An error means that the reader has closed the pipe, which is fine.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(if report.has_errors() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
