//! `wasgi serve`: the server, from its start to its last request.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::site::{check_folders, route_table};
use crate::cli;
use crate::config::{Config, Live, Stamp, Watch};
use crate::engine::{Engine, Program};
use crate::log::{self, Log};
use crate::published::Published;
use crate::registry;
use crate::reload::{self, Folders, PagesChange, Reload};
use crate::server::{Server, Settings};
use crate::static_files::Pages;

/// How often the end of the requests in flight is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// `wasgi serve`: serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// Fails when the server can't start.
pub fn serve(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    let file = Stamp::of(&arguments.site.sources().file());
    let config = arguments.load()?.config;
    let errors = Log::start("error", std::io::stderr())?;
    log::install(errors.clone(), std::io::stderr().is_terminal());
    let result = run(arguments, &config, file);
    errors.flush();
    result
}

fn run(arguments: &cli::Serve, config: &Config, file: Option<Stamp>) -> anyhow::Result<ExitCode> {
    let (root, handlers) = (config.site.root(), config.site.handlers());
    check_folders(root, handlers)?;
    let out = Log::start("access", std::io::stdout())?;
    raise_descriptor_limit();
    // Signals that come from here on are kept until they are looked at.
    let mut signals = watch_signals()?;
    let engine = Engine::new(&config.budget, config.site.code_cache())?;
    let pages = Arc::new(Pages::open(root, config.page_options())?);
    let registry = reload::scan_once(handlers, &engine);
    let routes = route_table(root, &registry);
    let registry = Arc::new(registry::Shared::new(registry));

    let settings = Arc::new(Published::new(Settings::of(config)));
    let server = Server::start(
        config,
        settings.clone(),
        &engine,
        registry.clone(),
        pages.clone(),
        out.clone(),
    )?;
    let reload = watch(config, engine, registry, pages.clone())?;
    let grace = Arc::new(Published::new(config.server.shutdown_grace));
    let config_watch = Watch::start(
        arguments.site.sources().file(),
        file,
        reloader(arguments, config, settings, pages, grace.clone()),
    )?;
    let (scheme, addr) = (server.scheme().as_str(), server.addr());
    out.send(format!("{routes}listening on {scheme}://{addr}/\n").into_bytes());
    if let Some(addr) = server.redirect_addr() {
        out.send(format!("sending http://{addr}/ on to https\n").into_bytes());
    }

    wait(&server, &mut signals, &config_watch, &grace);
    drop(config_watch);
    drop(reload);
    drop(server);
    out.flush();
    Ok(ExitCode::SUCCESS)
}

/// Watches both folders from now on.
fn watch(
    config: &Config,
    engine: Engine,
    registry: Arc<registry::Shared<Program>>,
    pages: Arc<Pages>,
) -> anyhow::Result<Reload> {
    let folders = Folders {
        handlers: config.site.handlers().into(),
        pages: Some(config.site.root().into()),
    };
    let on_pages = move |change| {
        if change == PagesChange::Replaced {
            pages.reopen();
        }
    };
    let options = reload::Options {
        on_pages: Some(Box::new(on_pages)),
        ..Default::default()
    };
    Reload::start(&folders, Arc::new(engine), registry, options)
}

/// What has a changed file take effect.
fn reloader(
    arguments: &cli::Serve,
    config: &Config,
    settings: Arc<Published<Settings>>,
    pages: Arc<Pages>,
    grace: Arc<Published<Duration>>,
) -> impl FnMut() + Send + 'static {
    let sources = arguments.site.sources();
    let arguments = arguments.clone();
    let flags = move |draft: &mut _| arguments.set(draft);
    let apply = move |config: &Config| {
        pages.set_options(config.page_options())?;
        settings.publish(Settings::of(config));
        grace.publish(config.server.shutdown_grace);
        Ok(())
    };
    let mut live = Live::new(sources, config.clone(), flags, apply);
    move || live.reload()
}

/// Signals that come from here on are kept until they are looked at.
fn watch_signals() -> anyhow::Result<Signals> {
    let mut signals = vec![SIGINT, SIGTERM];
    // A terminal that is closed hangs up on what runs in it; elsewhere, this is how one asks for
    // the configuration to be read again.
    if !std::io::stdin().is_terminal() {
        signals.push(SIGHUP);
    }
    Signals::new(signals).context("could not watch for signals")
}

/// Waits for a signal to stop, then for the requests in flight. A second one ends at once.
fn wait(server: &Server, signals: &mut Signals, config: &Watch, grace: &Published<Duration>) {
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        config.look();
    }
    let grace = *grace.current();
    tracing::info!("stopping: requests in flight have {grace:?}");
    server.drain();
    let until = Instant::now() + grace;
    while !server.is_done() {
        if signals.pending().any(|signal| signal != SIGHUP) {
            tracing::warn!("stopping at once: a second signal came");
            return;
        }
        if Instant::now() >= until {
            tracing::warn!("stopping: the time for requests in flight is over");
            return;
        }
        thread::sleep(DRAIN_POLL);
    }
}

/// Lets the process have as many descriptors as it may, one for each connection: the usual limit
/// of 1,024 is there for the sake of programs that use `select`.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(
            "the limit on open files stays at {:?}: {error}",
            limit.current
        );
    }
}
