//! `wasgi serve`, from startup to the last request. A single serving process is implemented in
//! `service`, a supervisor of several processes here, and each of its workers in `worker`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use anyhow::{Context, bail};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::confinement::{Confinement, Files, Notes};
use super::dev::{greet, restrict, state as dev_state};
use super::events::{Event, forward};
use super::keeper::{self, Keeper, Opened, has_terminal};
use super::process_limits::{ignore_file_size_signal, raise_descriptor_limit};
use super::screen::{self, Screen};
use super::service::{Entry, Service};
use super::site::check_folders;
use super::worker::work;
use crate::admin::AdminListener;
use crate::bundle::Unpacked;
use crate::cli;
use crate::config::{Config, Live};
use crate::file_watch::{FileWatch, Stamps};
use crate::log::{self, AccessLog, AccessTarget, Log};
use crate::oci::Pulled;
use crate::printable;
use crate::server::Sockets;
use crate::server::tls::LoadedCertificates;
use crate::service_manager::{self, Activation};
use crate::supervisor::{Logs, Operator, Supervisor};
use crate::terminal;
use crate::upgrade::{Predecessor, Program};

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
    let program = match dev {
        Some(_) => None,
        None => Some(Program::of_process().context("could not find this program's file")?),
    };
    let predecessor = arguments.upgrade_from.map(|_| Predecessor::receive());
    let predecessor = predecessor.transpose()?;
    let failure = predecessor.as_ref().map(Predecessor::failure).transpose()?;
    let result = start_as(arguments, dev, program, predecessor);
    if let (Err(error), Some(failure)) = (&result, failure)
        && failure.report(error)
    {
        return Ok(ExitCode::FAILURE);
    }
    result
}

/// Serves, perhaps in place of a predecessor.
fn start_as(
    arguments: &cli::Serve,
    dev: Option<&cli::Dev>,
    program: Option<Program>,
    mut predecessor: Option<Predecessor>,
) -> anyhow::Result<ExitCode> {
    let mut activation = match predecessor {
        Some(_) => Activation::default(),
        None => service_manager::activation()?,
    };
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
    let several = config.server.processes > 1;
    // Before the first thread: rights belong to threads.
    let access_file = config.server.access_log.open()?;
    let ready = match several {
        true => None,
        false => Some(Ready::new(
            &config,
            Files {
                sources: &arguments.site.sources(),
                bundle: bundle.as_deref(),
            },
            dev.is_some(),
            std::mem::take(&mut activation),
            predecessor.as_mut(),
        )?),
    };
    let colours = terminal::has_colours(&std::io::stderr());
    let errors = Log::start("error", std::io::stderr(), &config.log)?;
    log::install(errors.clone(), config.server.log_level.into(), colours);
    log::set_format(config.server.log_format);
    let result = check_folders(&config, &overlaps)
        .and_then(|()| Log::start_for_access("access", std::io::stdout(), &config.log))
        .and_then(|out| {
            out.set_format(config.server.log_format);
            let target = &config.server.access_log;
            let access = AccessLog::with_file(out.clone(), target, &config.log, access_file)?;
            let logs = Logs {
                out,
                access,
                errors: errors.clone(),
                colours,
            };
            let start = Start {
                arguments,
                site: Loaded {
                    config,
                    bundle,
                    pulled: Vec::new(),
                    stamps,
                },
                program,
                predecessor,
                activation,
            };
            match ready {
                None => supervise(start, logs),
                Some(ready) => run(start, ready, &logs, dev),
            }
        });
    errors.flush();
    result
}

/// What a serving process has opened with the rights that it was started with, and the rights that
/// it has left.
struct Ready {
    opened: Opened,
    certificates: Option<LoadedCertificates>,
    confinement: Confinement,
    notes: Notes,
}

impl Ready {
    /// Opens what takes rights, and then gives up those that the configuration doesn't need.
    fn new(
        config: &Config,
        files: Files<'_>,
        is_dev: bool,
        activation: Activation,
        predecessor: Option<&mut Predecessor>,
    ) -> anyhow::Result<Self> {
        let mut notes = Notes::default();
        raise_descriptor_limit().unwrap_or_else(|line| notes.warn(line));
        let opened = keeper::open(config, activation, predecessor)?;
        let mut wanted = config.certificates()?;
        if is_dev {
            // It serves no virtual hosts.
            wanted.hosts.clear();
        }
        let certificates = LoadedCertificates::load(wanted)?;
        let confinement = match is_dev {
            // It belongs to the person who has started it.
            true => Confinement::default(),
            false => Confinement::enter(config, Some(files), &mut notes)?,
        };
        Ok(Self {
            opened,
            certificates,
            confinement,
            notes,
        })
    }
}

/// A site that is about to be served.
struct Loaded {
    config: Config,
    bundle: Option<Arc<Unpacked>>,
    /// The handlers from registries.
    pulled: Vec<Pulled>,
    /// The states of the files that it was loaded from.
    stamps: Stamps,
}

impl Loaded {
    /// Downloads the handlers that are in registries.
    fn pull(&mut self) -> anyhow::Result<()> {
        self.pulled = self.config.pull_handlers(&|| false)?;
        Ok(())
    }
}

/// What a server starts with.
struct Start<'s> {
    arguments: &'s cli::Serve,
    site: Loaded,
    program: Option<Program>,
    predecessor: Option<Predecessor>,
    activation: Activation,
}

/// Serves in this process.
fn run(
    start: Start<'_>,
    ready: Ready,
    logs: &Logs,
    dev: Option<&cli::Dev>,
) -> anyhow::Result<ExitCode> {
    let Start {
        arguments,
        mut site,
        predecessor,
        ..
    } = start;
    // With the rights that are left, as later, and while a signal still ends this process.
    site.pull()?;
    let Ready {
        opened,
        certificates,
        confinement,
        notes,
    } = ready;
    let config = &site.config.clone();
    let has_folders = site.bundle.is_none();
    let (out, access) = (&logs.out, &logs.access);
    let signals = watch_signals(&[SIGUSR2], predecessor.as_ref())?;
    let mut keeper = Keeper::new(config, &opened, start.program, predecessor);
    let entry = Entry {
        // A clone, for successors: it is closed when this process accepts no more connections.
        sockets: opened.sockets.part(0, 1)?,
        tickets: opened.tickets,
        certificates,
    };
    let to_out = out.clone();
    let on_started = move |text: String| log::announce(&to_out, text);
    let state = dev.map(|_| dev_state(config));
    let (is_successor, is_activated) = (keeper.is_successor(), keeper.is_activated());
    let service = Service::start(
        config,
        entry,
        access,
        state.as_ref(),
        on_started,
        |prepared| {
            if is_successor {
                // The predecessor limits the time.
                prepared.load_all(|| false);
                prepared.open_store();
            } else if is_activated {
                prepared.load_soon();
            }
            Ok(())
        },
    )?;
    // Not before: a start that fails is one line.
    notes.log();
    service.warn_of_unknown_handlers(&config.handlers);
    let controls = service.controls();
    let apply = move |config: &Config| {
        controls.warn_of_unknown_handlers(&config.handlers);
        confinement.warn_of_missing(config);
        controls.apply(config)
    };
    keeper.watch(watch_config(arguments, site, apply)?);
    match dev {
        Some(dev) => greet(dev, config, &service, out),
        None if has_folders && screen::is_watched(config, out) => {
            log::announce(out, SCREEN.text(config, &service, out));
        }
        None => log::announce(out, service.announcement()),
    }
    if let Some(line) = admin_line(opened.admin.as_ref()) {
        log::announce(out, line);
    }
    service.announced();
    keeper.start_admin(opened.admin, Arc::new(service.inspector()))?;
    let pulse = service.pulse();
    keeper.watch_over(move || pulse.check());
    if is_successor {
        // It says that it is ready from the beginning, as its predecessor has.
        service.wait_for_start()?;
    }
    keeper.serves();

    let (sender, events) = mpsc::channel();
    forward(signals, sender.clone())?;
    let is_replaced = wait(&events, &sender, &opened.sockets, access, &mut keeper);
    let mut how = service.how_to_drain();
    drop(opened.sockets);
    if is_replaced {
        how = how.replaced();
        service.release_store();
    } else {
        tracing::info!("{}", how.announcement());
        keeper.stops();
    }
    // A successor is no signal: the first one leaves the requests in flight their time.
    let mut is_signalled = !is_replaced;
    service.drain(how, || {
        for event in events.try_iter() {
            match event {
                Event::Signal(SIGUSR1) => access.reopen(),
                Event::Signal(SIGINT | SIGTERM) if is_signalled => {
                    tracing::warn!("stopping immediately: received a second signal");
                    return true;
                }
                Event::Signal(SIGINT | SIGTERM) => {
                    tracing::info!("stopping: already waiting for requests in flight");
                    is_signalled = true;
                }
                _ => {}
            }
        }
        false
    });
    drop(service);
    drop(keeper);
    access.flush();
    Ok(ExitCode::SUCCESS)
}

/// Waits for a termination signal, or until a successor serves. Returns whether one does.
fn wait(
    events: &Receiver<Event>,
    sender: &Sender<Event>,
    sockets: &Sockets,
    access: &AccessLog,
    keeper: &mut Keeper,
) -> bool {
    for event in events {
        match event {
            Event::Signal(SIGHUP) => keeper.look(),
            Event::Signal(SIGUSR1) => access.reopen(),
            Event::Signal(SIGUSR2) => {
                let sender = sender.clone();
                let on_end = Box::new(move |result| {
                    // Fails if this process is ending already.
                    let _ = sender.send(Event::Upgraded(result));
                });
                keeper.begin_upgrade(sockets, on_end);
            }
            Event::Signal(_) => return false,
            Event::Upgraded(result) => {
                if keeper.upgraded(result) {
                    return true;
                }
            }
            Event::Leave => {}
        }
    }
    false
}

/// Supervises several serving processes.
fn supervise(start: Start<'_>, logs: Logs) -> anyhow::Result<ExitCode> {
    let Start {
        arguments,
        mut site,
        mut predecessor,
        ..
    } = start;
    site.pull()?;
    let config = &site.config.clone();
    let signals = watch_signals(&[SIGCHLD, SIGUSR2], predecessor.as_ref())?;
    let opened = keeper::open(config, start.activation, predecessor.as_mut())?;
    let mut keeper = Keeper::new(config, &opened, start.program, predecessor);
    // The supervisor writes the file.
    let for_workers = |config: &Config| {
        let mut config = config.clone();
        if let AccessTarget::File(_) = config.server.access_log {
            config.server.access_log = AccessTarget::Stdout;
        }
        config
    };
    let access = logs.access.clone();
    config.policies()?;
    config.policies_of_hosts()?;
    let announced = admin_line(opened.admin.as_ref()).unwrap_or_default();
    let Opened {
        sockets, tickets, ..
    } = opened;
    let supervisor = Supervisor::new(
        &for_workers(config),
        sockets,
        tickets,
        logs,
        signals,
        announced,
    )?;
    keeper.start_admin(opened.admin, supervisor.inspector())?;
    let reconfigure = supervisor.reconfigure();
    let of_access = access.clone();
    let apply = move |config: &Config| {
        // Each worker reads the secrets itself. One that is not available is an error here already.
        config.policies()?;
        config.policies_of_hosts()?;
        of_access.set_target(&config.server.access_log, &config.log)?;
        log::set_limits(&config.log);
        of_access.set_limits(&config.log);
        log::set_format(config.server.log_format);
        of_access.set_format(config.server.log_format);
        reconfigure.to(&for_workers(config))
    };
    keeper.watch(watch_config(arguments, site, apply)?);

    keeper.watch_over(supervisor.watch());
    let result = supervisor.run(&mut keeper);
    drop(keeper);
    access.flush();
    result
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
    let Loaded {
        config,
        bundle,
        pulled,
        stamps,
    } = site;
    Live::new(sources, config, bundle, pulled, flags, apply).watch(stamps)
}

/// Catches signals from here on and queues them until they are read: the termination signals,
/// SIGUSR1, and `more`.
fn watch_signals(more: &[i32], predecessor: Option<&Predecessor>) -> anyhow::Result<Signals> {
    let mut signals = vec![SIGINT, SIGTERM, SIGUSR1];
    signals.extend(more);
    // In a terminal, SIGHUP means that the terminal was closed; elsewhere, it is the conventional
    // request to reload the configuration.
    if !has_terminal(predecessor) {
        signals.push(SIGHUP);
    }
    Signals::new(signals).context("could not watch for signals")
}
