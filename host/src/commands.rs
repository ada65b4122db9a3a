//! What the program's commands do.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli;
use crate::config::{Budget, Config};
use crate::engine::{Engine, Program};
use crate::log::{self, Log};
use crate::registry::{self, RouteTable, shadowed_pages};
use crate::reload::{self, Folders, PagesChange, Reload};
use crate::server::Server;
use crate::static_files::{self, Pages};

/// How often the end of the requests in flight is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// `wasgi serve`: serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// Fails when the server can't start.
pub fn serve(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    let config = arguments.config();
    let errors = Log::start("error", std::io::stderr())?;
    log::install(errors.clone(), std::io::stderr().is_terminal());
    let result = run(&config);
    errors.flush();
    result
}

fn run(config: &Config) -> anyhow::Result<ExitCode> {
    check_folders(&config.root, &config.handlers)?;
    let out = Log::start("access", std::io::stdout())?;
    raise_descriptor_limit();
    // Signals that come from here on are kept until they are looked at.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("could not watch for signals")?;
    let engine = Engine::new(&config.budget, config.code_cache.as_deref())?;
    let pages = Arc::new(Pages::open(&config.root, static_files::Options::default())?);
    let registry = reload::scan_once(&config.handlers, &engine);
    let routes = route_table(&config.root, &registry);
    let registry = Arc::new(registry::Shared::new(registry));

    let access_log = config.access_log.then(|| out.clone());
    let server = Server::start(config, &engine, registry.clone(), pages.clone(), access_log)?;
    let reload = watch(config, engine, registry, pages)?;
    let (scheme, addr) = (server.scheme().as_str(), server.addr());
    out.send(format!("{routes}listening on {scheme}://{addr}/\n").into_bytes());
    if let Some(addr) = server.redirect_addr() {
        out.send(format!("sending http://{addr}/ on to https\n").into_bytes());
    }

    wait(&server, &mut signals, config);
    drop(reload);
    drop(server);
    out.flush();
    Ok(ExitCode::SUCCESS)
}

/// `wasgi routes`: shows what `wasgi serve` would serve. Exit code 1 if something is wrong.
///
/// # Errors
///
/// Fails when there is no site.
pub fn routes(arguments: &cli::Routes) -> anyhow::Result<ExitCode> {
    let errors = Log::start("error", std::io::stderr())?;
    log::install(errors.clone(), std::io::stderr().is_terminal());
    let (root, handlers) = (arguments.site.root(), arguments.site.handlers());
    check_folders(&root, &handlers)?;
    let engine = Engine::new(&Budget::default(), arguments.site.code_cache().as_deref())?;
    let registry = reload::scan_once(&handlers, &engine);
    let routes = route_table(&root, &registry);
    print!("{routes}");
    errors.flush();
    Ok(if routes.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One folder may be missing: it may come later. With neither, the site is somewhere else.
fn check_folders(root: &Path, handlers: &Path) -> anyhow::Result<()> {
    let (root_shown, handlers_shown) = (root.display(), handlers.display());
    match (root.is_dir(), handlers.is_dir()) {
        (true, true) => {}
        (true, false) => {
            tracing::warn!(
                "{handlers_shown}: no such folder; handlers are served once it is there"
            );
        }
        (false, true) => {
            tracing::warn!("{root_shown}: no such folder; pages are served once it is there");
        }
        (false, false) => bail!(
            "neither {root_shown} nor {handlers_shown} is a folder: name the folder that holds \
             them (wasgi serve SITE), or each (--root, --handlers)"
        ),
    }
    Ok(())
}

fn route_table(root: &Path, registry: &registry::Registry<Program>) -> RouteTable {
    let mut routes = registry.route_table();
    routes.problems.extend(shadowed_pages(root, registry));
    routes
}

/// Watches both folders from now on.
fn watch(
    config: &Config,
    engine: Engine,
    registry: Arc<registry::Shared<Program>>,
    pages: Arc<Pages>,
) -> anyhow::Result<Reload> {
    let folders = Folders {
        handlers: config.handlers.clone(),
        pages: Some(config.root.clone()),
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

/// Waits for a signal, then for the requests in flight. A second signal ends at once.
fn wait(server: &Server, signals: &mut Signals, config: &Config) {
    signals.forever().next();
    tracing::info!(
        "stopping: requests in flight have {:?}",
        config.shutdown_grace
    );
    server.drain();
    let until = Instant::now() + config.shutdown_grace;
    while !server.is_done() {
        if signals.pending().next().is_some() {
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
