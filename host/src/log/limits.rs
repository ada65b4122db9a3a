//! The limits on the size of logs, and on how fast a handler can write to them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units;

/// How long the process waits at exit for an output to accept the last lines, and how long a relay
/// waits for an output to accept any.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// The log settings of the section `[limits]` of `wasgi.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The maximum line length, in bytes, as written, without the time, level and name before it. A
    /// longer line of a handler is split. A longer message of the server is truncated, as is a line
    /// that only escapes made too long.
    ///
    /// 8 KiB: log collectors commonly truncate at 8 KiB or 16 KiB.
    #[serde(rename = "log-line", with = "units::size")]
    pub line_bytes: usize,
    /// The average rate at which one handler can write to the error log, in bytes per second,
    /// including the prefix of each line. The handler's output and the server's messages about it
    /// each have their own allowance, so that one does not displace the other. Excess lines are
    /// dropped.
    ///
    /// 256 KiB/s: 1,000 requests per second with two lines each; at most 22 GB of disk per day.
    #[serde(rename = "log-rate", with = "units::rate")]
    pub rate_bytes_per_second: u32,
    /// The burst that one handler can write to the error log after a long silence, in bytes.
    ///
    /// 1 MiB: the default log limit of sixteen requests.
    #[serde(rename = "log-burst", with = "units::size")]
    pub burst_bytes: usize,
    /// The maximum size of one log's queue, in bytes. A handler gets at most half of the space that
    /// is free, so that a new line of another handler always fits.
    ///
    /// 4 MiB: some 40,000 lines, a second or two at full load.
    #[serde(rename = "log-queue", with = "units::size")]
    pub queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line_bytes: 8 * 1024,
            rate_bytes_per_second: 256 * 1024,
            burst_bytes: 1024 * 1024,
            queue_bytes: 4 * 1024 * 1024,
        }
    }
}
