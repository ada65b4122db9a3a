//! `wasgi serve` in a worker: serves as its supervisor orders, and exits when ordered or when the
//! supervisor exits.

use std::process::ExitCode;
use std::sync::{Arc, mpsc};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::confinement::{Confinement, Notes};
use super::events::{Event, forward};
use super::process_limits::{ignore_file_size_signal, raise_descriptor_limit};
use super::service::{Entry, Service};
use crate::config::Config;
use crate::log::{self, AccessLog, Log};
use crate::server::tls::LoadedCertificates;
use crate::supervisor::{END_AT_ONCE, Report, Started, ToSupervisor, WorkerId};

/// Serves until SIGTERM.
///
/// # Errors
///
/// Fails if the server cannot start, or if the process has no supervisor.
pub(super) fn work(id: WorkerId) -> anyhow::Result<ExitCode> {
    // A terminal sends its signals to all of its processes, and the supervisor decides how to react
    // to them. So SIGINT, SIGHUP and SIGUSR2 are caught and ignored, and so is SIGUSR1: the
    // supervisor writes the files.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, END_AT_ONCE])
        .context("could not watch for signals")?;
    ignore_file_size_signal()?;
    id.follow()?;
    let mut channel = ToSupervisor::stdin()?;
    let started = channel.start()?;
    let config = &started.config;
    let mut notes = Notes::default();
    raise_descriptor_limit().unwrap_or_else(|line| notes.warn(line));
    // Before the first thread: rights belong to threads.
    let certificates = LoadedCertificates::load(config.certificates()?)?;
    let confinement = Confinement::enter(config, None, &mut notes)?;
    // The kernel forgets this request when a process becomes another user.
    id.follow()?;
    let errors = Log::start("error", std::io::stderr(), &config.log)?;
    let level = config.server.log_level.into();
    log::install(errors.clone(), level, started.colours);
    log::set_format(config.server.log_format);
    let out = Log::start_for_access("access", std::io::stdout(), &config.log)?;
    out.set_format(config.server.log_format);
    let access = AccessLog::open(out.clone(), &config.server.access_log, &config.log)?;
    let rights = Rights {
        certificates,
        confinement,
        notes,
    };
    let result = serve(id, channel, started, rights, signals, &access);
    out.flush();
    errors.flush();
    result.map(|()| ExitCode::SUCCESS)
}

/// What this process has read with the rights of its supervisor, and the rights that it has left.
struct Rights {
    certificates: Option<LoadedCertificates>,
    confinement: Confinement,
    notes: Notes,
}

fn serve(
    id: WorkerId,
    mut channel: ToSupervisor,
    started: Started,
    rights: Rights,
    signals: Signals,
    access: &AccessLog,
) -> anyhow::Result<()> {
    let Started {
        config,
        sockets,
        tickets,
        loads_first,
        is_held,
        ..
    } = started;
    let Rights {
        certificates,
        confinement,
        notes,
    } = rights;
    let reporter = Arc::new(channel.reporter()?);
    let of_loading = reporter.clone();
    let on_started = move |text| {
        // A send fails only if the supervisor has exited, which ends this process.
        let _ = of_loading.send(&Report::Loaded(text));
    };
    let entry = Entry {
        sockets,
        tickets: tickets.map(Arc::new),
        certificates,
    };
    let service = Service::start(&config, entry, access, None, on_started, |prepared| {
        if is_held {
            prepared.load_all(|| !id.has_supervisor());
            prepared.open_store();
            reporter.send(&Report::Prepared)?;
            channel.wait_for_permission()?;
        } else if loads_first {
            prepared.load_soon();
        }
        Ok(())
    })?;
    reporter.send(&Report::Serves(service.announcement()))?;
    service.announced();
    // One worker logs warnings on behalf of all.
    let speaks = id.number == 1;
    if speaks {
        notes.log();
        service.warn_of_unknown_handlers(&config.handlers);
    }
    let controls = service.controls();
    let apply = move |config: &Config| {
        if speaks {
            controls.warn_of_unknown_handlers(&config.handlers);
            confinement.warn_of_missing(config);
        }
        controls.apply(config)
    };
    let inspector = service.inspector();
    let (sender, events) = mpsc::channel();
    forward(signals, sender.clone())?;
    let leave = move || {
        // Fails if this process is ending already.
        let _ = sender.send(Event::Leave);
    };
    let pulse = service.pulse();
    let inspect = move || inspector.inspection();
    channel.follow(apply, reporter, inspect, move || pulse.check(), leave)?;
    let is_end = |event: &Event| match event {
        Event::Signal(signal) => [SIGTERM, END_AT_ONCE].contains(signal),
        Event::Leave | Event::Upgraded(_) => true,
    };
    let first = events.iter().find(is_end);
    let mut how = service.how_to_drain();
    let mut at_once = false;
    match first {
        Some(Event::Leave) => {
            how = how.replaced();
            service.release_store();
        }
        Some(Event::Signal(END_AT_ONCE)) => at_once = true,
        _ => {}
    }
    // A second SIGTERM has no effect; see `END_AT_ONCE`.
    service.drain(how, || {
        let is_urgent = |event| matches!(event, Event::Signal(END_AT_ONCE));
        at_once |= events.try_iter().any(is_urgent);
        at_once
    });
    Ok(())
}
