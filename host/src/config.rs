//! What a server is told to do: where it listens, what it serves, and how much it allows.
//!
//! This is the settled form, all defaults filled in; `cli` makes one of the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::http1;
use crate::server::{proxy, tls};

/// Everything a server needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen. Port 0 picks a free port.
    pub addr: SocketAddr,
    /// The folder of pages.
    pub root: PathBuf,
    /// The folder of handlers.
    pub handlers: PathBuf,
    /// How many reactor threads.
    pub threads: usize,
    /// What one request may cost.
    pub budget: Budget,
    /// What the client's side of a connection may cost.
    pub http: http1::Limits,
    /// Whether and how to speak TLS.
    pub tls: tls::Options,
    /// Which proxies are trusted, and with what.
    pub proxy: proxy::Options,
    /// Whether each request is logged on stdout.
    pub access_log: bool,
    /// How long requests in flight may go on after the first SIGINT or SIGTERM.
    pub shutdown_grace: Duration,
    /// Where compiled handlers are kept, or `None` to compile at every start.
    pub code_cache: Option<PathBuf>,
}

/// What one request may cost its handler. Each handler has the same budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Linear memory of one instance, in bytes. An instance that wants more is refused by
    /// `memory.grow`, and most allocators then trap: status 500.
    pub memory_bytes: usize,
    /// From the request's head to the response's end. Then status 504, or a cut connection.
    pub wall_time: Duration,
    /// Time spent computing, waiting not counted. Then status 504, or a cut connection.
    pub cpu_time: Duration,
    /// Requests that one handler may have in work at a time, on all threads. Then status 503.
    pub concurrent_requests: usize,
    /// A response's status, field names and field values together, in bytes. A larger head is
    /// refused where the handler sets it.
    pub response_head_bytes: usize,
    /// What one request may write to `wsgi.errors`, stdout and stderr, in bytes. What comes after
    /// is dropped, and the log says so.
    pub log_bytes: usize,
}

impl Config {
    /// `127.0.0.1:8000`: the port that Python's own `http.server` and wsgiref's examples use, and
    /// reachable from this machine alone unless asked for otherwise.
    pub const DEFAULT_ADDR: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8000);

    /// 30 s: what most supervisors wait between their SIGTERM and their SIGKILL, or less.
    pub const DEFAULT_SHUTDOWN_GRACE: Duration = Duration::from_secs(30);
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            // A Python interpreter with a web framework loaded takes about a third of this.
            memory_bytes: 128 * 1024 * 1024,
            // Half of what proxies commonly wait, so that the answer is ours.
            wall_time: Duration::from_secs(30),
            // Long for a web request, short for a loop that will never end.
            cpu_time: Duration::from_secs(5),
            // Ten thousand connections, each with a request in work: C10K, to the letter.
            concurrent_requests: 10_000,
            // Twice what servers commonly accept of a request's head.
            response_head_bytes: 64 * 1024,
            // A long traceback is 8 KiB.
            log_bytes: 64 * 1024,
        }
    }
}
