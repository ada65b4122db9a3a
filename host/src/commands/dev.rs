//! `wasgi dev`: `wasgi serve` for a person at a desk, on a loopback address.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::IsTerminal;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::bail;
use tracing::Level;

use super::serve;
use super::service::Service;
use crate::cli;
use crate::config::Config;
use crate::dev::Dev;
use crate::log::{self, Log, LogFormat};
use crate::printable;
use crate::registry::RowState;

/// The program that opens a URL in the desktop's browser, unless `BROWSER` names another.
const OPENER: &str = "xdg-open";

/// Runs `wasgi dev`: serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// Fails if the server cannot start, or if its address is not a loopback address.
pub fn dev(arguments: &cli::Dev) -> anyhow::Result<ExitCode> {
    serve::start(&arguments.serve, Some(arguments))
}

/// Restricts a configuration to what `wasgi dev` supports: a loopback address, one process.
pub(super) fn restrict(config: &mut Config) -> anyhow::Result<()> {
    let site = ("server.addr", "--addr", Some(config.server.addr));
    let redirect = (
        "tls.redirect-http",
        "--redirect-http",
        config.tls.redirect_http,
    );
    for (key, flag, addr) in [site, redirect] {
        if let Some(addr) = addr
            && !addr.ip().is_loopback()
        {
            bail!(
                "{key}: wasgi dev listens only on loopback addresses, and {addr} is none: use \
                 {flag} 127.0.0.1:{}, or wasgi serve",
                addr.port()
            );
        }
    }
    config.site.build = true;
    // The record of what happened belongs to a process.
    config.server.processes = 1;
    Ok(())
}

/// Creates the state of `wasgi dev`, which gets the lines of handlers from here on.
pub(super) fn state(config: &Config) -> Arc<Dev> {
    let dev = Arc::new(Dev::new(config.site.handlers()));
    let lines = dev.clone();
    log::listen(move |level, handler, request, line| {
        let level = match level {
            Level::ERROR | Level::WARN => "warn",
            _ => "info",
        };
        lines.line(level, handler, request, line);
    });
    dev
}

/// Prints the start screen, and opens the browser if that was asked for.
pub(super) fn greet(arguments: &cli::Dev, config: &Config, service: &Service, out: &Log) {
    let url = service.url();
    let is_coloured = std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let is_coloured = is_coloured && out.format() == LogFormat::Text;
    log::announce(out, screen(config, service, &url, is_coloured));
    if arguments.open {
        open(&url);
    }
}

fn screen(config: &Config, service: &Service, url: &str, is_coloured: bool) -> String {
    let style = |code: &str, text: &str| match is_coloured {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let routes = service.routes();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &routes.rows {
        let kind = match row.state {
            RowState::Served => row.kind.as_str(),
            RowState::Building => "building",
            RowState::Loading => "loading",
            RowState::Broken => "broken",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    let kinds = match kinds.is_empty() {
        true => "none yet".to_owned(),
        false => kinds.join(", "),
    };
    let folder = |path: &std::path::Path| {
        printable::line_of_bytes(path.as_os_str().as_encoded_bytes()).to_string()
    };
    let mut text = String::new();
    // Writing to a string never fails.
    let _ = writeln!(
        text,
        "\n  {}  {}\n\n  pages     {}\n  handlers  {}  {}\n",
        style("1;35", "wasgi dev"),
        style("2", env!("CARGO_PKG_VERSION")),
        folder(config.site.root()),
        folder(config.site.handlers()),
        style("2", &kinds),
    );
    for line in printable::report(&routes.to_string()).to_string().lines() {
        let line = match line.starts_with("problem: ") {
            true => style("31", line),
            false => line.to_owned(),
        };
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(
        text,
        "\n  Open pages follow changes. The dashboard is at /_wasgi/. Ctrl-C stops.\n\n{} {}",
        style("1;32", "listening on"),
        style("1;4", url)
    );
    text
}

/// Opens the site in the browser, without waiting for it.
fn open(url: &str) {
    let browser = std::env::var("BROWSER")
        .ok()
        .filter(|name| !name.is_empty());
    let program = browser.as_deref().unwrap_or(OPENER);
    let started = Command::new(program)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match started {
        // Reaped by a thread of its own, so that it leaves no zombie.
        Ok(mut child) => {
            let reap = move || child.wait();
            if std::thread::Builder::new().spawn(reap).is_err() {
                tracing::debug!("the browser is not waited for");
            }
        }
        Err(error) => tracing::warn!("--open: {program} can't be started: {error}; open {url}"),
    }
}
