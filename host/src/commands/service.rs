//! A process that serves: the server itself, and what keeps it up to date.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::site::route_table;
use crate::config::Config;
use crate::engine::{Engine, Program};
use crate::log::Log;
use crate::published::Published;
use crate::registry;
use crate::reload::{self, PagesChange, Reload, Scan};
use crate::server::{Claim, Server, Settings};
use crate::static_files::Pages;

/// How often the end of the requests in flight is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// A running server that follows its folders. Dropping it stops it at once.
pub(super) struct Service {
    // Dropped in this order: nothing is loaded any more for a server that stops.
    _reload: Reload,
    server: Server,
    controls: Controls,
    announcement: String,
}

/// What a new configuration takes effect through.
#[derive(Clone, Debug)]
pub(super) struct Controls {
    settings: Arc<Published<Settings>>,
    pages: Arc<Pages>,
    grace: Arc<Published<Duration>>,
}

impl Service {
    /// Starts to serve.
    pub(super) fn start(config: &Config, claim: Claim, out: &Log) -> anyhow::Result<Self> {
        let (root, handlers) = (config.site.root(), config.site.handlers());
        let engine = Engine::new(&config.budget, config.site.code_cache())?;
        let controls = Controls {
            settings: Arc::new(Published::new(Settings::of(config))),
            pages: Arc::new(Pages::open(root, config.page_options())?),
            grace: Arc::new(Published::new(config.server.shutdown_grace)),
        };
        let scan = reload::scan_once(handlers, &engine);
        let registry = scan.registry();
        let routes = route_table(root, &registry);
        let registry = Arc::new(registry::Shared::new(registry));
        let server = Server::start(
            config,
            controls.settings.clone(),
            &engine,
            registry.clone(),
            controls.pages.clone(),
            out.clone(),
            claim,
        )?;
        engine.expect_crowd(&config.budget);
        let reload = watch(scan, root, engine, registry, controls.pages.clone())?;
        let (scheme, addr) = (server.scheme().as_str(), server.addr());
        let mut announcement = format!("{routes}listening on {scheme}://{addr}/\n");
        if let Some(addr) = server.redirect_addr() {
            announcement += &format!("sending http://{addr}/ on to https\n");
        }
        Ok(Self {
            _reload: reload,
            server,
            controls,
            announcement,
        })
    }

    /// What is served, what is wrong with it, and where: whole lines.
    pub(super) fn announcement(&self) -> &str {
        &self.announcement
    }

    /// What a new configuration takes effect through.
    pub(super) fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// How long requests in flight may go on.
    pub(super) fn grace(&self) -> Duration {
        *self.controls.grace.current()
    }

    /// Takes no new connection, and waits for the requests in flight, or until `ends_at_once`.
    pub(super) fn drain(&self, mut ends_at_once: impl FnMut() -> bool) {
        self.server.drain();
        let until = Instant::now() + self.grace();
        while !self.server.is_done() {
            if ends_at_once() {
                return;
            }
            if Instant::now() >= until {
                tracing::warn!("stopping: the time for requests in flight is over");
                return;
            }
            thread::sleep(DRAIN_POLL);
        }
    }
}

impl Controls {
    /// Puts a configuration into force.
    pub(super) fn apply(&self, config: &Config) -> anyhow::Result<()> {
        self.pages.set_options(config.page_options())?;
        self.settings.publish(Settings::of(config));
        self.grace.publish(config.server.shutdown_grace);
        Ok(())
    }
}

/// Watches both folders from now on.
fn watch(
    scan: Scan<Program>,
    root: &Path,
    engine: Engine,
    registry: Arc<registry::Shared<Program>>,
    pages: Arc<Pages>,
) -> anyhow::Result<Reload> {
    let on_pages = move |change| {
        if change == PagesChange::Replaced {
            pages.reopen();
        }
    };
    let options = reload::Options {
        on_pages: Some(Box::new(on_pages)),
        ..Default::default()
    };
    Reload::start(scan, Some(root), Arc::new(engine), registry, options)
}

/// Lets the process have as many descriptors as it may, one for each connection: the usual limit
/// of 1,024 is there for the sake of programs that use `select`.
pub(super) fn raise_descriptor_limit() {
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
