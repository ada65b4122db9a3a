//! What one request may cost its handler.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasgi_fields::head::DEFAULT_MAX_HEAD_BYTES;

use crate::units;

/// What one request may cost its handler: the section `[budget]` of `wasgi.toml`. Each handler has
/// the same budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Budget {
    /// Linear memory of one instance, in bytes. An instance that wants more is refused by
    /// `memory.grow`, and most allocators then trap: status 500.
    ///
    /// 256 MiB: a Python interpreter with a web framework loaded takes up to 60 MiB, and the
    /// longest body (`limits.body`) fits in three times over: as it is joined, a copy of it is
    /// made.
    #[serde(rename = "memory", with = "units::size")]
    pub memory_bytes: usize,
    /// How long a handler may go without giving its client anything: from the request's head to the
    /// first block, and from one block to the next. Time in which it waits for its client is not
    /// counted. Then status 504, or a cut connection.
    ///
    /// 30 s: half of what proxies commonly wait, so that the answer is ours.
    #[serde(with = "units::duration")]
    pub wall_time: Duration,
    /// Time spent computing, waiting not counted. Then status 504, or a cut connection.
    ///
    /// 5 s: long for a web request, short for a loop that will never end.
    #[serde(with = "units::duration")]
    pub cpu_time: Duration,
    /// Requests that one handler may have in work at a time, on all threads. Then status 503.
    ///
    /// Ten thousand connections, each with a request in work: C10K, to the letter.
    pub concurrent_requests: usize,
    /// A response's status, field names and field values together, in bytes. A larger head is
    /// refused where the handler sets it.
    ///
    /// The default is [`DEFAULT_MAX_HEAD_BYTES`], which says why.
    #[serde(rename = "response-head", with = "units::size")]
    pub response_head_bytes: usize,
    /// One block of a response's body, as the application returns it, in bytes. A longer one is not
    /// taken: status 500, or a cut connection. A body of several blocks may have any length.
    ///
    /// 8 MiB: it is copied in one go, in some milliseconds, and nothing else happens on the thread
    /// meanwhile.
    #[serde(rename = "block", with = "units::size")]
    pub block_bytes: usize,
    /// What one request may write to `wsgi.errors`, stdout and stderr, in bytes. What comes after
    /// is dropped, and the log says so.
    ///
    /// A long traceback is 8 KiB.
    #[serde(rename = "log", with = "units::size")]
    pub log_bytes: usize,
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
        }
    }
}
