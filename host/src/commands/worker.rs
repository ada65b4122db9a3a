//! `wasgi serve` in a worker: serves as its supervisor orders, and exits when ordered or when the
//! supervisor exits.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use super::service::{Service, ignore_file_size_signal, raise_descriptor_limit};
use crate::config::Config;
use crate::log::{self, AccessLog, Log};
use crate::server::Claim;
use crate::supervisor::{END_AT_ONCE, Report, ToSupervisor, WorkerId};

/// Serves until SIGTERM.
///
/// # Errors
///
/// Fails if the server cannot start, or if the process has no supervisor.
pub(super) fn work(id: WorkerId) -> anyhow::Result<ExitCode> {
    // A terminal sends its signals to all of its processes, and the supervisor decides how to react
    // to them. So SIGINT and SIGHUP are caught and ignored, and so is SIGUSR1: the supervisor
    // writes the files.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, END_AT_ONCE])
        .context("could not watch for signals")?;
    ignore_file_size_signal()?;
    id.follow()?;
    let mut channel = ToSupervisor::stdin()?;
    let (config, colours) = channel.config()?;
    let errors = Log::start("error", std::io::stderr(), &config.log)?;
    log::install(errors.clone(), config.server.log_level.into(), colours);
    log::set_format(config.server.log_format);
    let out = Log::start_for_access("access", std::io::stdout(), &config.log)?;
    out.set_format(config.server.log_format);
    let access = AccessLog::open(out.clone(), &config.server.access_log, &config.log)?;
    raise_descriptor_limit();

    let reporter = Arc::new(channel.reporter()?);
    let of_loading = reporter.clone();
    let on_started = move |text| {
        // A send fails only if the supervisor has exited, which ends this process.
        let _ = of_loading.send(&Report::Loaded(text));
    };
    let result =
        Service::start(&config, Claim::Shared, &access, None, on_started).and_then(|service| {
            reporter.send(&Report::Serves(service.announcement()))?;
            service.announced();
            // One worker logs warnings on behalf of all.
            let speaks = id.number == 1;
            if speaks {
                service.warn_of_unknown_handlers(&config.handlers);
            }
            let controls = service.controls();
            let apply = move |config: &Config| {
                if speaks {
                    controls.warn_of_unknown_handlers(&config.handlers);
                }
                controls.apply(config)
            };
            let inspector = service.inspector();
            channel.follow(apply, reporter, move || inspector.inspection())?;
            // A second SIGTERM has no effect; see `END_AT_ONCE`.
            let first = signals
                .forever()
                .find(|signal| [SIGTERM, END_AT_ONCE].contains(signal));
            let mut at_once = first == Some(END_AT_ONCE);
            service.drain(service.how_to_drain(), || {
                at_once |= signals.pending().any(|signal| signal == END_AT_ONCE);
                at_once
            });
            Ok(())
        });
    out.flush();
    errors.flush();
    result.map(|()| ExitCode::SUCCESS)
}
