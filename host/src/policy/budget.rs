//! The resource limits of one request.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasgi_fields::head::DEFAULT_MAX_HEAD_BYTES;

use crate::units;

/// The resource limits of one request: the section `[budget]` of `wasgi.toml`. All handlers have
/// the same budget unless `[handlers]` overrides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Budget {
    /// Linear memory of one instance, in bytes. Beyond it `memory.grow` fails, and most allocators
    /// then trap: status 500.
    ///
    /// 256 MiB: a Python interpreter with a web framework loaded takes up to 60 MiB, and the
    /// longest body (`limits.body`) fits three times: joining its parts makes a copy.
    #[serde(rename = "memory", with = "units::size")]
    pub memory_bytes: usize,
    /// The maximum time without output for the client: from the request's head to the first block,
    /// and from one block to the next. The time spent waiting for the client is not counted. When
    /// it is exceeded, the response is status 504, or the connection is cut.
    ///
    /// 30 s: half of the usual timeout of proxies, so that the client gets this server's response.
    #[serde(with = "units::duration")]
    pub wall_time: Duration,
    /// The maximum time spent computing, not counting time spent waiting. When it is exceeded, the
    /// response is status 504, or the connection is cut.
    ///
    /// 5 s: long for a web request, short for an endless loop.
    #[serde(with = "units::duration")]
    pub cpu_time: Duration,
    /// The maximum number of concurrent requests of one handler, on all threads. Further requests
    /// get status 503.
    ///
    /// 10,000: one request on each of ten thousand connections (the C10K problem).
    pub concurrent_requests: usize,
    /// The maximum size of a response's status, field names and field values together, in bytes. A
    /// larger head is rejected when the handler sets it.
    ///
    /// The default is [`DEFAULT_MAX_HEAD_BYTES`], which documents the choice.
    #[serde(rename = "response-head", with = "units::size")]
    pub response_head_bytes: usize,
    /// The maximum size of one block of a response's body, as the application returns it, in bytes.
    /// A larger block is rejected: status 500, or a cut connection. A body of several blocks may
    /// have any length.
    ///
    /// 8 MiB: a block is copied at once, which blocks the thread for some milliseconds.
    #[serde(rename = "block", with = "units::size")]
    pub block_bytes: usize,
    /// The maximum output of one request to `wsgi.errors`, stdout and stderr, in bytes. Further
    /// output is dropped, and the log says so.
    ///
    /// A long traceback is 8 KiB.
    #[serde(rename = "log", with = "units::size")]
    pub log_bytes: usize,
    /// The maximum number of connections of one handler to other hosts at a time, in one process. A
    /// further HTTP request waits for one to be closed; a further socket is refused.
    ///
    /// 1,024: more than the thousand requests at a time that one slow API makes wait.
    pub outbound_connections: usize,
    /// The maximum size of the body of one HTTP response from another host, in bytes. The handler
    /// reads it block by block, so it takes no memory.
    ///
    /// 1 GiB: ends a response without end.
    #[serde(rename = "outbound-response", with = "units::size")]
    pub outbound_response_bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            memory_bytes: 256 * 1024 * 1024,
            wall_time: Duration::from_secs(30),
            cpu_time: Duration::from_secs(5),
            concurrent_requests: 10_000,
            response_head_bytes: DEFAULT_MAX_HEAD_BYTES,
            block_bytes: 8 * 1024 * 1024,
            log_bytes: 64 * 1024,
            outbound_connections: 1024,
            outbound_response_bytes: 1 << 30,
        }
    }
}
