//! What a server can be told: where it listens and how, and what it allows the other side of a
//! connection beyond what the protocol core counts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::proxy;
use crate::config::{Budget, Config, Handlers};
use crate::content;
use crate::http1;
use crate::log;
use crate::units;

/// The section `[server]` of `wasgi.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Where to listen. Port 0 picks a free port.
    ///
    /// `127.0.0.1:8000`: the port that Python's own `http.server` and wsgiref's examples use, and
    /// reachable from this machine alone unless asked for otherwise.
    #[serde(with = "super::addr")]
    pub addr: SocketAddr,
    /// How many reactor threads; one for each processor if it isn't set, and one in all if there
    /// are several processes.
    pub threads: Option<u16>,
    /// How many processes serve, each with threads of its own. One is this process itself; more
    /// are workers, and this process supervises them.
    pub processes: u16,
    /// Whether each request is logged on stdout.
    pub access_log: bool,
    /// What the error log holds. From `warn` on, the start does not show the routes, either.
    pub log_level: log::Verbosity,
    /// Whether answers have a `Server` field that names this program.
    pub server_field: bool,
    /// How long requests in flight may go on after the first SIGINT or SIGTERM.
    ///
    /// 30 s: what most supervisors wait between their SIGTERM and their SIGKILL, or less.
    #[serde(with = "units::duration")]
    pub shutdown_grace: Duration,
}

/// The server's own part of the section `[limits]`: what the socket's owner counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections that may be open at a time, on all threads. One more is closed at once.
    ///
    /// As many as one address can have to one port of ours, which is what Linux's default range of
    /// 28,232 local ports allows, and some. Idle, they take 32 MiB.
    #[serde(rename = "connections")]
    pub connections_count: u32,
    /// Connections that one address may have open at a time; of IPv6, one network of 64 bits, which
    /// is what one customer has. One more is answered with 503, as nginx's `limit_conn` does it,
    /// and closed.
    ///
    /// Half of all, so that no one address can have them all; and more than the ten thousand that
    /// one proxy in front may bring.
    #[serde(rename = "connections-per-address")]
    pub connections_per_address_count: u32,
    /// The memory of all instances of all handlers together. A request for whose instance there is
    /// none left is answered with 503, and the growth of one at work is refused.
    ///
    /// Half of the machine's: the other half is for the system, its cache of files, and what the
    /// server needs beside instances.
    pub memory: units::Share,
    /// From a request's head to its answer's last byte, however long the budget and the timeouts
    /// within it are. Then status 408 or 504, or a cut connection.
    ///
    /// An hour is a gigabyte at 300 KB/s.
    #[serde(rename = "request-timeout", with = "units::duration")]
    pub request_timeout: Duration,
    /// How long a client may take nothing of what is sent to it, in one go or summed up; counted as
    /// [`http1::Limits::body_patience`] is, and won back at [`Self::write_rate_bytes_per_second`].
    ///
    /// As long as nginx waits.
    #[serde(rename = "write-timeout", with = "units::duration")]
    pub write_patience: Duration,
    /// The rate below which a client uses up its [`Self::write_patience`]: the one that a request's
    /// body has to have, too.
    #[serde(rename = "write-rate", with = "units::rate")]
    pub write_rate_bytes_per_second: u32,
}

/// What may change while the server runs: an immutable snapshot, swapped whole. New connections go
/// by the new one, and new requests, but for what the protocol core counts: that a connection
/// keeps.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What one request may cost,
    pub budget: Budget,
    /// and what is different for some handlers.
    pub handlers: Handlers,
    /// What the protocol core allows.
    pub http: Arc<http1::Limits>,
    /// What the socket's owner allows.
    pub limits: Limits,
    /// Which proxies are trusted, and with what.
    pub proxy: Arc<proxy::Options>,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Whether answers have a `Server` field.
    pub server_field: bool,
    /// What is compressed.
    pub compress: content::Options,
}

impl Settings {
    /// The parts of a configuration that may change.
    pub fn of(config: &Config) -> Self {
        Self {
            budget: config.budget,
            handlers: config.handlers.clone(),
            http: Arc::new(config.http.clone()),
            limits: config.limits,
            proxy: Arc::new(config.proxy.clone()),
            access_log: config.server.access_log,
            compress: config.compress,
            server_field: config.server.server_field,
        }
    }

    /// What the `Server` field says, if there is to be one.
    pub(super) fn server(&self) -> Option<&'static str> {
        self.server_field.then_some(crate::SERVER_SOFTWARE)
    }
}

impl Limits {
    /// How long a client may keep its answer waiting.
    pub(super) fn write_allowance(&self) -> http1::Allowance {
        http1::Allowance {
            most: self.write_patience,
            rate_bytes_per_second: self.write_rate_bytes_per_second,
        }
    }
}

impl Options {
    /// How many reactor threads a process has: what is set; or one for each processor, or one
    /// where there are several processes.
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None if self.processes > 1 => 1,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            threads: None,
            processes: 1,
            access_log: true,
            log_level: log::Verbosity::default(),
            server_field: true,
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_count: 32 * 1024,
            connections_per_address_count: 16 * 1024,
            memory: units::Share::Percent(50),
            request_timeout: Duration::from_secs(60 * 60),
            write_patience: Duration::from_secs(60),
            write_rate_bytes_per_second: 500,
        }
    }
}
