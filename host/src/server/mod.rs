//! The server: one reactor per thread, each with a listening socket of its own. `mio` lives here
//! and nowhere else.
//!
//! - `reactor`: the event loop.
//! - `connection`: one client, from its first byte to its last.
//! - `context`: what the connections of a reactor share, and what answers a request.
//! - `calls`, `inbox`: handlers at work, and how they are woken.
//! - `admission`, `refusal`: how many connections there may be, and what one too many is told.
//! - `options`: what can be set, and which of it may change while the server runs.
//! - `transport`: what a connection's bytes go through, a socket or TLS above one.
//! - [`tls`], [`proxy`]: the rules of both. No socket in there.
//! - [`addr`]: how an address to listen on is written, and why one can't be had.
//! - `listener`, `redirect`, `deadlines`, `outbox`, `bind`, `date`, `status`, `record`,
//!   `access_log`: one thing each.

mod access_log;
pub mod addr;
mod admission;
mod bind;
mod calls;
mod connection;
mod context;
mod date;
mod deadlines;
mod inbox;
mod lanes;
mod listener;
mod options;
mod outbox;
pub mod proxy;
mod reactor;
mod record;
mod redirect;
mod refusal;
pub mod tls;
mod transport;
mod wall_clock;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;

use self::access_log::AccessLog;
use self::admission::Admission;
use self::connection::Service;
use self::inbox::{Inbox, Message};
use self::listener::Listener;
use self::reactor::Reactor;
use self::tls::Tls;
use crate::config::Config;
use crate::engine::{Engine, Program, Ticker, Timers};
use crate::gateway::Scheme;
use crate::log::Log;
use crate::printable;
use crate::published::Published;
use crate::registry;
use crate::static_files::Pages;

pub use self::bind::{Claim, Reservation};
pub use self::options::{Limits, Options, Settings};

/// The flag that says where to listen.
pub const ADDR_FLAG: &str = "--addr";

/// The flag that says where to listen for those who are to be sent on to https.
pub const REDIRECT_FLAG: &str = "--redirect-http";

/// What all reactors have in common.
#[derive(Debug)]
struct Shared {
    registry: Arc<registry::Shared<Program>>,
    pages: Arc<Pages>,
    settings: Arc<Published<Settings>>,
    admission: Arc<Admission>,
    access_log: AccessLog,
    tls: Option<Tls>,
    /// The port that https is to be had on, for those who are sent there.
    https_port: u16,
}

/// A running server. Dropping it stops it at once.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    redirect_addr: Option<SocketAddr>,
    scheme: Scheme,
    inboxes: Vec<Arc<Inbox>>,
    threads: Vec<JoinHandle<()>>,
    _ticker: Ticker,
    _timers: Timers,
}

impl Server {
    /// Listens, and starts the reactors. They go by `settings` as they are published; `config` is
    /// what stays as it is.
    ///
    /// # Errors
    ///
    /// Fails when an address can't be had, the certificate is no good, or the system gives no
    /// thread.
    pub fn start(
        config: &Config,
        settings: Arc<Published<Settings>>,
        engine: &Engine,
        registry: Arc<registry::Shared<Program>>,
        pages: Arc<Pages>,
        access_log: Log,
        claim: Claim,
    ) -> anyhow::Result<Self> {
        let tls = Tls::start(&config.tls)?;
        let threads_count = config.server.threads();
        let site = config.server.addr;
        let (addr, mut listeners) = open(site, threads_count, ADDR_FLAG, Service::Site, claim)?;
        let mut redirect_addr = None;
        if let Some(redirect) = config.tls.redirect_http {
            let service = Service::Redirect;
            let (addr, more) = open(redirect, threads_count, REDIRECT_FLAG, service, claim)?;
            redirect_addr = Some(addr);
            for (listeners, listener) in listeners.iter_mut().zip(more) {
                listeners.extend(listener);
            }
        }
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
            tls,
            https_port: config.tls.redirect_port.unwrap_or(addr.port()),
        });
        let timers = Timers::start()?;
        let ticker = Ticker::start(engine, threads_count)?;
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        for (index, listeners) in listeners.into_iter().enumerate() {
            let working = ticker
                .working(index)
                .context("the ticker has no place left")?;
            let reactor = Reactor::new(listeners, shared.clone(), working)?;
            inboxes.push(reactor.inbox());
            let handle = timers.handle().clone();
            let thread = thread::Builder::new()
                .name(format!("wasgi-{index}"))
                .spawn(move || run(reactor, &handle))
                .context("could not start a reactor's thread")?;
            threads.push(thread);
        }
        Ok(Self {
            addr,
            redirect_addr,
            scheme,
            inboxes,
            threads,
            _ticker: ticker,
            _timers: timers,
        })
    }

    /// Where it listens: the port that was picked, where 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens for those that are to be sent on to https.
    pub fn redirect_addr(&self) -> Option<SocketAddr> {
        self.redirect_addr
    }

    /// How it is to be asked.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Takes no new connection, and lets requests in flight come to their end.
    pub fn drain(&self) {
        self.send(Message::Drain);
    }

    /// Ends requests in flight.
    pub fn stop(&self) {
        self.send(Message::Stop);
    }

    /// Whether the last reactor has ended.
    pub fn is_done(&self) -> bool {
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

/// Listens on an address, once for each reactor. Says which address it is.
fn open(
    addr: SocketAddr,
    threads: usize,
    flag: &str,
    service: Service,
    claim: Claim,
) -> anyhow::Result<(SocketAddr, Vec<Vec<Listener>>)> {
    let listeners = bind::bind(addr, threads, flag, claim)?;
    let Some(first) = listeners.first() else {
        anyhow::bail!("a server needs one thread at least (--threads)");
    };
    let addr = first
        .local_addr()
        .context("the listening socket has no address")?;
    let listeners = listeners
        .into_iter()
        .map(|listener| vec![Listener::new(listener, service)])
        .collect();
    Ok((addr, listeners))
}

fn run(reactor: Reactor, runtime: &tokio::runtime::Handle) {
    // Where the timers of a guest's sleep find their driver.
    let _entered = runtime.enter();
    // A thread that is gone would leave its share of the connections waiting for ever: better to
    // end the process, and have whoever supervises it start another.
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
