//! What the program's commands do.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli;
use crate::config::Config;
use crate::engine::Engine;
use crate::log::{self, Log};
use crate::registry;
use crate::server::Server;
use crate::static_files::Pages;

/// `wasgi serve`: serves until SIGINT or SIGTERM.
///
/// # Errors
///
/// Fails when the server can't start.
pub fn serve(arguments: &cli::Serve) -> anyhow::Result<ExitCode> {
    let config = arguments.config();
    let errors = Log::start("error", std::io::stderr())?;
    log::install(errors.clone(), std::io::stderr().is_terminal());
    let out = Log::start("access", std::io::stdout())?;
    let engine = Engine::new(&config.budget, config.code_cache.as_deref())?;
    let pages = Arc::new(Pages::open(&config.root)?);
    let registry = {
        let mut hs = vec![];
        for e in std::fs::read_dir(&config.handlers)?.flatten() {
            let p = e.path();
            if p.extension().is_some_and(|x| x == "wasm" || x == "wat") {
                let b = std::fs::read(&p)?;
                match engine.load(&b) {
                    Ok(program) => {
                        let name = p.file_stem().unwrap().to_str().unwrap().to_owned();
                        hs.push(Arc::new(registry::Handler {
                            route: crate::router::Route::parse(&name).unwrap(),
                            file: format!("{name}.wasm"),
                            name,
                            program,
                            version: registry::Version::of(&b),
                            gate: Arc::default(),
                        }));
                    }
                    Err(e) => println!("{}: {e}", p.display()),
                }
            }
        }
        Arc::new(registry::Shared::new(registry::Registry::new(
            config.handlers.clone(),
            hs,
            vec![],
        )))
    };
    // Signals that come from here on are kept until they are looked at.
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("could not watch for signals")?;
    let access_log = config.access_log.then(|| out.clone());
    let server = Server::start(&config, &engine, registry, pages, access_log)?;
    out.send(format!("listening on http://{}/\n", server.addr()).into_bytes());
    wait(&server, &mut signals, &config);
    drop(server);
    out.flush();
    errors.flush();
    Ok(ExitCode::SUCCESS)
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
        thread::sleep(Duration::from_millis(10));
    }
}

/// `wasgi routes`.
pub fn routes(_: &cli::Routes) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
