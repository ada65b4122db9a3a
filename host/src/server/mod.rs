//! The server: one reactor per thread, each with its own listening socket. Only this module uses
//! `mio`.
//!
//! - `reactor`: the event loop.
//! - `connection`: one client connection, from its first byte to its last.
//! - `context`: the state that the connections of a reactor share, and the choice of a response.
//! - `calls`, `inbox`: running handlers, and how they are woken.
//! - `admission`, `refusal`: limits on connections, and rejections.
//! - `hosts`: the virtual hosts.
//! - `challenges`: answers to certificate authorities.
//! - `options`: the configuration, and which parts can change while the server runs.
//! - `transport`: the bytes of a connection, through a socket or through TLS.
//! - [`tls`], [`proxy`]: the rules of both, without a socket.
//! - [`addr`]: the syntax of listening addresses, and explanations of bind errors.
//! - `listener`, `redirect`, `deadlines`, `outbox`, `bind`, `date`, `record`, `record_line`,
//!   `request_span`, `access_log`: one concept each.

mod access_log;
pub(crate) mod addr;
mod admission;
mod bind;
mod calls;
pub(crate) mod challenges;
mod connection;
mod context;
mod date;
mod deadlines;
mod failures;
mod hosts;
mod inbox;
mod lanes;
mod listener;
mod options;
mod outbox;
pub(crate) mod proxy;
mod reactor;
mod ready;
mod record;
mod record_line;
mod redirect;
mod refusal;
mod request_span;
mod shared;
pub(crate) mod tls;
mod transport;
mod wall_clock;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context as _;

use self::access_log::AccessLog;
use self::admission::Admission;
use self::inbox::{Inbox, Message};
use self::listener::{Listener, Service};
use self::reactor::Reactor;
use self::shared::Shared;
use self::tls::Tls;
use crate::dev::Dev;
use crate::engine::{Engine, Program, Ticker, Timers};
use crate::gateway::Scheme;
use crate::log::Log;
use crate::metrics::HandlerCounts;
use crate::printable;
use crate::published::Published;
use crate::registry::Registry;
use crate::static_files::Pages;
use crate::traces::Tracer;

pub(crate) use self::bind::{BACKLOG, GivenSockets, Sockets};
pub(crate) use self::hosts::{HostParts, HostSettings, HostTable};
pub(crate) use self::options::{Drain, Limits, ServerOptions, Settings};

/// A view of a server, for other threads.
#[derive(Clone, Debug)]
pub(crate) struct ServerView(Arc<Shared>);

impl ServerView {
    /// Returns the number of open connections.
    pub(crate) fn connections(&self) -> usize {
        self.0.admission.count()
    }

    /// Serves these certificates of virtual hosts in later handshakes.
    ///
    /// # Errors
    ///
    /// Fails if one of them can't be loaded, or if there is one and the server was started without
    /// TLS. Then nothing has changed.
    pub(crate) fn set_host_certificates(
        &self,
        hosts: &[tls::HostCertificate],
    ) -> anyhow::Result<()> {
        match (&self.0.tls, hosts.first()) {
            (Some(tls), _) => tls.set_hosts(hosts),
            (None, None) => Ok(()),
            (None, Some(first)) => anyhow::bail!(
                "hosts.{}: the server was started without a certificate: restart it to serve https",
                first.names.first().map_or("", |name| name)
            ),
        }
    }

    /// Serves a certificate that the server has obtained and can't store, given with its key in
    /// PEM, until `file` has another one. Without TLS, this has no effect.
    ///
    /// # Errors
    ///
    /// Fails if it is not in PEM format, or if the key doesn't match.
    pub(crate) fn set_obtained_certificate(&self, file: &Path, pem: &[u8]) -> anyhow::Result<()> {
        match &self.0.tls {
            Some(tls) => tls.set_obtained(file, pem),
            None => Ok(()),
        }
    }

    /// Describes the certificates.
    pub(crate) fn certificates(&self) -> Vec<tls::CertificateFact> {
        self.0.tls.as_ref().map_or(Vec::new(), Tls::facts)
    }

    /// Returns the last failures of handlers as JSON objects, oldest first.
    pub(crate) fn failures(&self) -> Vec<serde_json::Value> {
        self.0.failures.list()
    }

    /// Returns the counts of the requests without a handler.
    pub(crate) fn others(&self) -> &HandlerCounts {
        &self.0.others
    }
}

/// Checks whether the reactors of a server run. Clones check the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Vec<Arc<Inbox>>);

impl Pulse {
    /// Returns whether each reactor has run since the last call.
    pub(crate) fn check(&self) -> bool {
        // Asks each of them, whatever the others answer.
        let dead = self.0.iter().filter(|inbox| !inbox.check_pulse());
        dead.count() == 0
    }
}

/// Where and how to listen: the part of the configuration that is fixed while the server runs.
#[derive(Debug)]
pub(crate) struct Listen<'c> {
    /// The bound sockets.
    pub sockets: Sockets,
    /// The number of threads.
    pub options: &'c ServerOptions,
    /// The certificates, with TLS.
    pub certificates: Option<tls::LoadedCertificates>,
    /// The port in redirects.
    pub tls: &'c tls::TlsOptions,
    /// The keys of session tickets that other processes have, too.
    pub tickets: Option<Arc<tls::Tickets>>,
    /// What `wasgi dev` adds.
    pub dev: Option<&'c Arc<Dev>>,
    /// Records traces.
    pub tracer: Option<&'c Arc<Tracer>>,
}

/// A running server. Dropping it stops it immediately.
#[derive(Debug)]
pub(crate) struct Server {
    addr: SocketAddr,
    redirect_addr: Option<SocketAddr>,
    scheme: Scheme,
    shared: Arc<Shared>,
    inboxes: Vec<Arc<Inbox>>,
    threads: Vec<JoinHandle<()>>,
    _ticker: Ticker,
    _timers: Timers,
}

impl Server {
    /// Listens, and starts the reactors. They follow `settings` as it is published.
    ///
    /// # Errors
    ///
    /// Fails if an address is unavailable, the certificate is invalid, or a thread can't be
    /// created.
    pub(crate) fn start(
        listen: Listen<'_>,
        settings: Arc<Published<Settings>>,
        engine: &Engine,
        registry: Arc<Published<Registry<Program>>>,
        pages: Arc<Pages>,
        access_log: Arc<Published<Log>>,
    ) -> anyhow::Result<Self> {
        let Listen {
            options,
            sockets,
            certificates,
            ..
        } = listen;
        let tls = match certificates {
            None => None,
            Some(loaded) => {
                let tickets = listen.tickets.context("no keys for session tickets")?;
                Some(Tls::start(loaded, tickets)?)
            }
        };
        let threads_count = options.threads();
        let service = match listen.dev {
            Some(_) => Service::Dev,
            None => Service::Site,
        };
        let (addr, redirect_addr) = (sockets.addr()?, sockets.redirect_addr()?);
        let listeners = sockets.listen(threads_count)?;
        let scheme = match tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        };
        let shared = Arc::new(Shared {
            registry,
            pages,
            settings,
            admission: Admission::new(),
            access_log: AccessLog::new(access_log),
            others: Arc::default(),
            failures: Arc::default(),
            tls,
            https_port: listen.tls.redirect_port.unwrap_or(addr.port()),
            dev: listen.dev.cloned(),
            tracer: listen.tracer.cloned(),
        });
        let timers = Timers::start()?;
        let ticker = Ticker::start(engine, threads_count)?;
        let mut inboxes: Vec<Arc<Inbox>> = Vec::new();
        let mut threads = Vec::new();
        for (index, (site, redirect)) in listeners.into_iter().enumerate() {
            let site = site.into_iter().map(|one| Listener::new(one, service));
            let redirect = redirect.into_iter();
            let redirect = redirect.map(|one| Listener::new(one, Service::Redirect));
            let listeners = site.chain(redirect).collect();
            let working = ticker
                .working(index)
                .context("no free slot in the ticker")?;
            let reactor = Reactor::new(listeners, shared.clone(), working)?;
            inboxes.push(reactor.inbox());
            let handle = timers.handle().clone();
            let thread = thread::Builder::new()
                .name(format!("wasgi-{index}"))
                .spawn(move || run(reactor, &handle))
                .context("could not start a reactor's thread")?;
            threads.push(thread);
        }
        if let Some(dev) = listen.dev {
            let inboxes = inboxes.clone();
            let announce = move || inboxes.iter().for_each(|inbox| inbox.announce_events());
            dev.events().on_event(announce.clone());
            // For those since the first reactor has started.
            announce();
        }
        Ok(Self {
            addr,
            redirect_addr,
            scheme,
            shared,
            inboxes,
            threads,
            _ticker: ticker,
            _timers: timers,
        })
    }

    /// Returns the listening address: with the selected port, if port 0 was requested.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns a view of it.
    pub(crate) fn view(&self) -> ServerView {
        ServerView(self.shared.clone())
    }

    /// Returns a check of its reactors.
    pub(crate) fn pulse(&self) -> Pulse {
        Pulse(self.inboxes.clone())
    }

    /// Returns the listening address for clients that are redirected to https.
    pub(crate) fn redirect_addr(&self) -> Option<SocketAddr> {
        self.redirect_addr
    }

    /// Returns the scheme of its URLs.
    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Stops accepting connections and lets requests in flight finish. Idle connections may begin a
    /// last request within `idle_time`.
    pub(crate) fn drain(&self, idle_time: Duration) {
        self.send(Message::Drain { idle_time });
    }

    /// Ends the event streams in flight.
    pub(crate) fn end_streams(&self) {
        self.send(Message::EndStreams);
    }

    /// Aborts requests in flight.
    pub(crate) fn stop(&self) {
        self.send(Message::Stop);
    }

    /// Returns whether the last reactor has ended.
    pub(crate) fn is_done(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    fn send(&self, message: Message) {
        for inbox in &self.inboxes {
            inbox.send(message);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        for thread in self.threads.drain(..) {
            // A reactor that panics ends the process; see `run`.
            let _ = thread.join();
        }
    }
}

fn run(reactor: Reactor, runtime: &tokio::runtime::Handle) {
    // Timers of a guest's sleep need this runtime.
    let _entered = runtime.enter();
    // Without this thread, its share of the connections would wait forever. End the process, so
    // that its supervisor can start another.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reactor.run()));
    match result {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            eprintln!(
                "wasgi: a reactor has failed: {}",
                printable::block(&format!("{error:#}"))
            );
            std::process::exit(1);
        }
        Err(_) => std::process::abort(),
    }
}
