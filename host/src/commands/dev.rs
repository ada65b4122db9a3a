//! `wasgi dev`: `wasgi serve` for a person at a desk, on a loopback address.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use anyhow::bail;
use tracing::Level;

use super::screen::Screen;
use super::serve;
use super::service::Service;
use crate::acme::AcmeOptions;
use crate::cli;
use crate::config::Config;
use crate::confinement::ConfineMode;
use crate::dev::Dev;
use crate::log::{self, Log};

/// The program that opens a URL in the desktop's browser, unless `BROWSER` names another.
const OPENER: &str = "xdg-open";

/// The start screen.
const SCREEN: Screen = Screen {
    command: "dev",
    hint: "Open pages follow what you save. Ctrl-C stops.",
    dashboard: Some("/_wasgi/"),
};

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
    // No certificate is for a loopback address.
    config.acme = AcmeOptions::default();
    if config.tls.cert.is_none() {
        config.tls.redirect_http = None;
    }
    config.site.build = true;
    // It runs compilers, and belongs to the person who has started it.
    config.server.confine = ConfineMode::Off;
    (config.server.user, config.server.group) = (None, None);
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
    log::announce(out, SCREEN.text(config, service, out));
    if arguments.open {
        open(&service.url());
    }
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
