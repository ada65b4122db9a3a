//! `wasgi routes`: what `wasgi serve` would serve.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use super::site::{check_folders, route_table};
use crate::cli;
use crate::config::Budget;
use crate::engine::Engine;
use crate::log::{self, Log};
use crate::reload;

/// `wasgi routes`: shows what `wasgi serve` would serve. Exit code 1 if something is wrong.
///
/// # Errors
///
/// Fails when there is no site.
pub fn routes(arguments: &cli::Routes) -> anyhow::Result<ExitCode> {
    let (settled, overlaps) = arguments.site.load()?;
    let site = settled.config.site;
    let errors = Log::start("error", std::io::stderr())?;
    log::install(errors.clone(), std::io::stderr().is_terminal());
    check_folders(site.root(), site.handlers(), &overlaps)?;
    let engine = Engine::new(&Budget::default(), site.code_cache())?;
    let registry = reload::scan_once(site.handlers(), &engine).registry();
    let routes = route_table(site.root(), &registry);
    let shown = if arguments.json {
        format!("{:#}\n", routes.json())
    } else {
        routes.to_string()
    };
    // Whoever reads may have read enough.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    errors.flush();
    Ok(if routes.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
