//! `wasgi serve`, from startup to the last request. A single serving process is implemented in
//! `service`, a supervisor of several processes here, and each of its workers in `worker`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::dev::{greet, restrict, state as dev_state};
use super::screen::{self, Screen};
use super::service::{Service, ignore_file_size_signal, raise_descriptor_limit};
use super::site::check_folders;
use super::worker::work;
use crate::admin::{Admin, AdminListener};
use crate::bundle::Unpacked;
use crate::cli;
use crate::config::{Config, Live};
use crate::file_watch::{FileWatch, Stamps};
use crate::log::{self, AccessLog, AccessTarget, Log};
use crate::printable;
use crate::server::{ADDR_FLAG, Claim, REDIRECT_FLAG, Reservation};
use crate::supervisor::{Logs, Supervisor};
use crate::terminal;

/// The start screen on a terminal.
const SCREEN: Screen = Screen {
    command: "serve",
    hint: "What you save is served at once. Ctrl-C stops.",
    dashboard: None,
};

/// Runs `wasgi serve`: serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// Fails if the server cannot start.
pub fn serve(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    if let Some(id) = arguments.worker {
        return work(id);
    }
    start(arguments, None)
}

/// Serves until SIGINT or SIGTERM, with what `wasgi dev` adds if `dev` is given.
pub(super) fn start(arguments: &cli::Serve, dev: Option<&cli::Dev>) -> anyhow::Result<ExitCode> {
    let mut stamps = arguments.site.sources().stamps();
    let (resolved, overlaps) = arguments.load()?;
    let (mut config, bundle) = (resolved.config, resolved.bundle);
    if dev.is_some() {
        if bundle.is_some() {
            bail!(
                "{}: is a bundle, which doesn't change: name the site's folder, or use wasgi serve",
                arguments.site.place.site.display()
            );
        }
        restrict(&mut config)?;
    }
    ignore_file_size_signal()?;
    stamps.extend(config.secret_stamps());
    let colours = terminal::has_colours(&std::io::stderr());
    let errors = Log::start("error", std::io::stderr(), &config.log)?;
    log::install(errors.clone(), config.server.log_level.into(), colours);
    log::set_format(config.server.log_format);
    let several = config.server.processes > 1;
    let result = check_folders(config.site.root(), config.site.handlers(), &overlaps)
        .and_then(|()| Log::start_for_access("access", std::io::stdout(), &config.log))
        .and_then(|out| {
            out.set_format(config.server.log_format);
            let access = AccessLog::open(out.clone(), &config.server.access_log, &config.log)?;
            let logs = Logs {
                out,
                access,
                errors: errors.clone(),
                colours,
            };
            let site = Loaded {
                config,
                bundle,
                stamps,
            };
            if several {
                supervise(arguments, site, logs)
            } else {
                run(arguments, site, &logs, dev)
            }
        });
    errors.flush();
    result
}

/// A site that is about to be served.
struct Loaded {
    config: Config,
    bundle: Option<Arc<Unpacked>>,
    /// The states of the files that it was loaded from.
    stamps: Stamps,
}

/// Serves in this process.
fn run(
    arguments: &cli::Serve,
    site: Loaded,
    logs: &Logs,
    dev: Option<&cli::Dev>,
) -> anyhow::Result<ExitCode> {
    let config = &site.config.clone();
    let has_folders = site.bundle.is_none();
    raise_descriptor_limit();
    let mut signals = watch_signals(&[])?;
    let admin = bind_admin(config)?;
    let (out, access) = (&logs.out, &logs.access);
    let to_out = out.clone();
    let on_started = move |text: String| log::announce(&to_out, text);
    let state = dev.map(|_| dev_state(config));
    let service = Service::start(config, Claim::Alone, access, state.as_ref(), on_started)?;
    service.warn_of_unknown_handlers(&config.handlers);
    let controls = service.controls();
    let apply = move |config: &Config| {
        controls.warn_of_unknown_handlers(&config.handlers);
        controls.apply(config)
    };
    let config_watch = watch_config(arguments, site, apply)?;
    match dev {
        Some(dev) => greet(dev, config, &service, out),
        None if has_folders && screen::is_watched(config, out) => {
            log::announce(out, SCREEN.text(config, &service, out));
        }
        None => log::announce(out, service.announcement()),
    }
    if let Some(line) = admin_line(admin.as_ref()) {
        log::announce(out, line);
    }
    service.announced();
    let inspector = Arc::new(service.inspector());
    let admin = admin
        .map(|admin| Admin::start(admin, inspector))
        .transpose()?;

    for signal in signals.forever() {
        match signal {
            SIGHUP => config_watch.look(),
            SIGUSR1 => access.reopen(),
            _ => break,
        }
    }
    let how = service.how_to_drain();
    tracing::info!("{}", how.announcement());
    service.drain(how, || {
        let mut second = false;
        for signal in signals.pending() {
            match signal {
                SIGHUP => {}
                SIGUSR1 => access.reopen(),
                _ => second = true,
            }
        }
        if second {
            tracing::warn!("stopping immediately: received a second signal");
        }
        second
    });
    drop(config_watch);
    drop(service);
    drop(admin);
    access.flush();
    Ok(ExitCode::SUCCESS)
}

/// Supervises several serving processes.
fn supervise(arguments: &cli::Serve, site: Loaded, logs: Logs) -> anyhow::Result<ExitCode> {
    let config = &site.config.clone();
    let signals = watch_signals(&[SIGCHLD])?;
    // Held to the end, so that the ports stay reserved for later workers.
    let reserved = Reservation::new(config.server.addr, ADDR_FLAG)?;
    let redirect = config
        .tls
        .redirect_http
        .map(|addr| Reservation::new(addr, REDIRECT_FLAG))
        .transpose()?;
    let admin = bind_admin(config)?;
    let (addr, redirect_addr) = (reserved.addr(), redirect.as_ref().map(Reservation::addr));
    let for_workers = move |config: &Config| {
        let mut config = config.clone();
        config.server.addr = addr;
        config.tls.redirect_http = redirect_addr;
        // The supervisor writes the file.
        if let AccessTarget::File(_) = config.server.access_log {
            config.server.access_log = AccessTarget::Stdout;
        }
        config
    };
    let access = logs.access.clone();
    config.policies()?;
    let announced = admin_line(admin.as_ref()).unwrap_or_default();
    let supervisor = Supervisor::new(&for_workers(config), logs, signals, announced)?;
    let inspector = supervisor.inspector();
    let admin = admin
        .map(|admin| Admin::start(admin, inspector))
        .transpose()?;
    let reconfigure = supervisor.reconfigure();
    let of_access = access.clone();
    let apply = move |config: &Config| {
        // Each worker reads the secrets itself. One that is not available is an error here already.
        config.policies()?;
        of_access.set_target(&config.server.access_log, &config.log)?;
        log::set_limits(&config.log);
        of_access.set_limits(&config.log);
        log::set_format(config.server.log_format);
        of_access.set_format(config.server.log_format);
        reconfigure.to(&for_workers(config))
    };
    let config_watch = watch_config(arguments, site, apply)?;

    let result = supervisor.run(|| config_watch.look());
    drop(config_watch);
    drop(admin);
    access.flush();
    result
}

/// Binds the socket of the admin listener, if it is configured.
fn bind_admin(config: &Config) -> anyhow::Result<Option<AdminListener>> {
    config
        .admin
        .addr
        .as_ref()
        .map(AdminListener::bind)
        .transpose()
}

/// Returns the line that says where the admin listener is, if there is one.
fn admin_line(admin: Option<&AdminListener>) -> Option<String> {
    let shown = printable::one_line(admin?.shown());
    Some(format!("admin listener on {shown}\n"))
}

/// Watches the configuration file, or the bundle, and calls `apply` with each new configuration.
fn watch_config(
    arguments: &cli::Serve,
    site: Loaded,
    apply: impl FnMut(&Config) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<FileWatch> {
    let sources = arguments.site.sources();
    let arguments = arguments.clone();
    let flags = move |draft: &mut _| arguments.set(draft);
    if let Some(bundle) = &site.bundle {
        bundle.is_served();
    }
    Live::new(sources, site.config, site.bundle, flags, apply).watch(site.stamps)
}

/// Catches signals from here on and queues them until they are read: the termination signals,
/// SIGUSR1, and `more`.
fn watch_signals(more: &[i32]) -> anyhow::Result<Signals> {
    let mut signals = vec![SIGINT, SIGTERM, SIGUSR1];
    signals.extend(more);
    // In a terminal, SIGHUP means that the terminal was closed; elsewhere, it is the conventional
    // request to reload the configuration.
    if !std::io::stdin().is_terminal() {
        signals.push(SIGHUP);
    }
    Signals::new(signals).context("could not watch for signals")
}
