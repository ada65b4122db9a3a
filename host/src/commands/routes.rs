//! `wasgi routes`: prints the routes that `wasgi serve` would serve.

use std::io::Write;
use std::process::ExitCode;

use super::error_log;
use super::hosts;
use super::site::{check_folders, route_table, warn_of_unknown_handlers};
use crate::cli;
use crate::engine::Engine;
use crate::grants;
use crate::host_name;
use crate::policy::Budget;
use crate::policy::Handlers;
use crate::printable;
use crate::registry::RouteTable;
use crate::reload;

/// Runs `wasgi routes`: prints the routes that `wasgi serve` would serve. Returns exit code 1 if
/// there are problems.
///
/// # Errors
///
/// Fails if there is no site.
pub fn routes(arguments: &cli::Routes) -> anyhow::Result<ExitCode> {
    let (resolved, overlaps) = arguments.site.load()?;
    let config = resolved.config;
    let site = &config.site;
    let errors = error_log::start(&config)?;
    check_folders(&config, &overlaps)?;
    let _pulled = config.pull_handlers(&|| false)?;
    let engine = Engine::new(&Budget::default(), &config.compile, site.code_cache())?
        .with_runtime(site.runtime().as_deref());
    // A script may need its variables to be imported.
    engine.set_policies(config.policies()?);
    let scan = match site.default_host {
        true => reload::scan_once(site.handlers(), config.external_handlers()?, &engine),
        false => reload::list_nothing(site.handlers()),
    };
    let registry = scan.registry();
    let mut routes = route_table(site.root(), &registry);
    add_grants(&mut routes, &config.handlers);
    warn_of_unknown_handlers(&config.handlers, &registry);
    for (name, host, policies) in config.policies_of_hosts()? {
        let site = &host.site;
        hosts::check_folders(&name, site.root(), site.handlers())?;
        let engine = engine.with_policies(policies);
        let registry =
            reload::scan_host_once(site.handlers(), host.external_handlers()?, &name, &engine)
                .registry();
        let mut of_host = route_table(site.root(), &registry);
        add_grants(&mut of_host, &host.handlers);
        warn_of_unknown_handlers(&host.handlers, &registry);
        routes.append(of_host);
    }
    let shown = if arguments.json {
        printable::json(&format!("{:#}\n", routes.json())).to_string()
    } else {
        let shown = match arguments.verbose {
            true => routes.verbose().to_string(),
            false => routes.to_string(),
        };
        printable::report(&shown).to_string()
    };
    // An error means that the reader has closed the pipe, which is fine.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    errors.flush();
    Ok(if routes.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Adds the grants of each handler, and those that it lacks for its imports.
fn add_grants(routes: &mut RouteTable, handlers: &Handlers) {
    for row in &mut routes.rows {
        let (_, route) = host_name::split(&row.route);
        let name = match route.trim_start_matches('/') {
            "" => "index",
            name => name,
        };
        let table = handlers.table_of(name);
        row.granted = table.map_or(Vec::new(), |(_, handler)| handler.grants().keys());
        row.not_granted = grants::not_granted(&row.imports, &row.granted);
    }
}
