//! The server's configuration: listening addresses, and the limits on connections that the protocol
//! core doesn't enforce.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::hosts::HostTable;
use super::proxy;
use crate::confinement::ConfineMode;
use crate::content;
use crate::http1;
use crate::log;
use crate::policy::Policies;
use crate::units;

/// The section `[server]` of `wasgi.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerOptions {
    /// The listening address. Port 0 selects a free port.
    ///
    /// Default `127.0.0.1:8000`: the port that Python's `http.server` and the wsgiref examples use,
    /// reachable only from this machine.
    #[serde(with = "super::addr")]
    pub addr: SocketAddr,
    /// The number of reactor threads. Default: one per processor, or one if there are several
    /// processes.
    pub threads: Option<u16>,
    /// The number of serving processes, each with its own threads. With one, this process serves;
    /// with more, workers serve, and this process supervises them.
    pub processes: u16,
    /// The user that serves, by name or number: a server that root has started becomes this user
    /// when it has bound its addresses. Default: the user that has started the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group of this user, by name or number. Default: the user's primary group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether serving processes give up the rights that they don't need. Default: no.
    pub confine: ConfineMode,
    /// Where each request is logged, if it is. Default: on stdout.
    pub access_log: log::AccessTarget,
    /// The format of the logs.
    pub log_format: log::LogFormat,
    /// Whether each request has an identifier, and each response an `X-Request-Id` field. Default:
    /// no, because it costs time for each request.
    pub request_id: bool,
    /// The level of the error log. From `warn` on, the startup output omits the routes.
    pub log_level: log::Verbosity,
    /// Whether responses have a `Server` field that names this program.
    pub server_field: bool,
    /// How long the server still accepts connections after the first SIGINT or SIGTERM, while it
    /// says that it is not ready.
    ///
    /// None by default: only a balancer that asks for readiness needs it.
    #[serde(
        with = "units::duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub drain_delay: Option<Duration>,
    /// The time for requests in flight to finish after the first SIGINT or SIGTERM.
    ///
    /// 30 s: at most what most supervisors wait between SIGTERM and SIGKILL.
    #[serde(with = "units::duration")]
    pub shutdown_grace: Duration,
    /// The time for event streams (`text/event-stream`) in flight to finish, within
    /// [`Self::shutdown_grace`]. Most have no end of their own, and their clients reconnect.
    ///
    /// As long as other requests by default: a stream may be one long answer.
    #[serde(
        with = "units::duration::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub stream_grace: Option<Duration>,
    /// How long a successor may take to load everything before it is given up.
    ///
    /// Five minutes: a new version compiles all handlers.
    #[serde(with = "units::duration")]
    pub upgrade_timeout: Duration,
    /// The file with the process ID of this server. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_file: Option<PathBuf>,
}

/// How a server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Drain {
    /// The time for which it still accepts connections.
    pub delay: Duration,
    /// The time for requests in flight.
    pub grace: Duration,
    /// The time for event streams in flight.
    pub stream_grace: Duration,
    /// The time for idle connections to begin a last request.
    pub last_request_time: Duration,
}

/// How long an idle connection may begin a last request when the server stops: many times the pause
/// of a client that uses its connection all the time. The connection of another client is closed,
/// as it is after the idle timeout.
const LAST_REQUEST_TIME: Duration = Duration::from_millis(500);

/// How long an idle connection may begin a last request when a successor serves: nothing waits for
/// this process to end.
const LAST_REQUEST_TIME_REPLACED: Duration = Duration::from_secs(10);

/// The server's part of the section `[limits]`: the limits that the owner of the socket enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of open connections, over all threads. Further connections are closed
    /// immediately.
    ///
    /// As many as one address can open to one of our ports, given Linux's default range of 28,232
    /// local ports, and some more. While idle, they take 32 MiB.
    #[serde(rename = "connections")]
    pub connections_count: u32,
    /// Maximum number of open connections per address; for IPv6 per network of 64 bits, the usual
    /// assignment to one customer. Further connections receive 503, as with nginx's `limit_conn`,
    /// and are closed.
    ///
    /// Half of the total, so that no single address can use them all; and more than the ten
    /// thousand that one proxy in front may open.
    #[serde(rename = "connections-per-address")]
    pub connections_per_address_count: u32,
    /// Maximum memory of all instances of all handlers together. A request that needs an instance
    /// beyond it receives 503, and a running instance can't grow beyond it.
    ///
    /// Half of the machine's memory: the other half is for the system, its file cache, and the
    /// server's other needs.
    pub memory: units::Share,
    /// Maximum time from a request's head to the last byte of its response, regardless of the
    /// budget and the timeouts within it. Exceeded: status 408 or 504, or a cut connection.
    ///
    /// In an hour, a client can receive a gigabyte at 300 KB/s.
    #[serde(rename = "request-timeout", with = "units::duration")]
    pub request_timeout: Duration,
    /// Maximum time for which a client reads nothing of its response, in a single wait or
    /// accumulated; counted like [`http1::Limits::body_patience`], and restored at
    /// [`Self::write_rate_bytes_per_second`].
    ///
    /// The value of nginx.
    #[serde(rename = "write-timeout", with = "units::duration")]
    pub write_patience: Duration,
    /// The rate below which a client uses up its [`Self::write_patience`]: the same as for request
    /// bodies.
    #[serde(rename = "write-rate", with = "units::rate")]
    pub write_rate_bytes_per_second: u32,
}

/// The settings that can change while the server runs: an immutable snapshot, replaced as a whole.
/// New connections and new requests use the new one, but a connection keeps its limits of the
/// protocol core.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The limits and grants of one request.
    pub policies: Policies,
    /// The limits of the protocol core.
    pub http: Arc<http1::Limits>,
    /// The limits that the owner of the socket enforces.
    pub limits: Limits,
    /// The trusted proxies, and how they announce clients.
    pub proxy: Arc<proxy::ProxyOptions>,
    /// The format in which each request is logged; `None` if it isn't.
    pub access_log: Option<log::LogFormat>,
    /// Whether each request has an identifier.
    pub request_id: bool,
    /// Whether responses have a `Server` field.
    pub server_field: bool,
    /// What to compress.
    pub compress: content::CompressOptions,
    /// The virtual hosts; `None` without any.
    pub(crate) hosts: Option<Arc<HostTable>>,
}

impl Drain {
    /// Returns how to stop when another process accepts the connections.
    pub(crate) fn replaced(self) -> Self {
        Self {
            delay: Duration::ZERO,
            last_request_time: LAST_REQUEST_TIME_REPLACED.min(self.grace),
            ..self
        }
    }

    /// Returns the line for the log.
    pub(crate) fn announcement(&self) -> String {
        let grace = self.grace;
        match self.delay {
            Duration::ZERO => format!("stopping: waiting up to {grace:?} for requests in flight"),
            delay => format!(
                "stopping: accepting connections for {delay:?}, then waiting up to {grace:?} for \
                 requests in flight"
            ),
        }
    }
}

impl Settings {
    /// Returns the value of the `Server` field, if it is enabled.
    pub(super) fn server(&self) -> Option<&'static str> {
        self.server_field.then_some(crate::SERVER_SOFTWARE)
    }
}

impl Limits {
    /// Returns how long a client may delay its response.
    pub(super) fn write_allowance(&self) -> http1::Allowance {
        http1::Allowance {
            most: self.write_patience,
            rate_bytes_per_second: self.write_rate_bytes_per_second,
        }
    }
}

impl ServerOptions {
    /// Returns how to stop.
    pub(crate) fn drain(&self) -> Drain {
        Drain {
            delay: self.drain_delay.unwrap_or_default(),
            grace: self.shutdown_grace,
            stream_grace: self.stream_grace.unwrap_or(self.shutdown_grace),
            last_request_time: LAST_REQUEST_TIME,
        }
    }

    /// Returns the number of reactor threads per process: the configured number, otherwise one per
    /// processor, or one if there are several processes.
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None if self.processes > 1 => 1,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            threads: None,
            processes: 1,
            user: None,
            group: None,
            confine: ConfineMode::Off,
            access_log: log::AccessTarget::default(),
            log_format: log::LogFormat::default(),
            request_id: false,
            log_level: log::Verbosity::default(),
            server_field: true,
            drain_delay: None,
            shutdown_grace: Duration::from_secs(30),
            stream_grace: None,
            upgrade_timeout: Duration::from_secs(5 * 60),
            pid_file: None,
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
