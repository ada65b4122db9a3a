//! What a log may hold, and how fast a handler may write to it.

use serde::{Deserialize, Serialize};

use crate::units;

/// The logs' part of the section `[limits]` of `wasgi.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The longest line, in bytes, as it is written, without the time, level and name before it.
    /// A handler's longer line becomes several. Of the server's own messages, and of what escapes
    /// have made longer, the rest is cut off.
    ///
    /// 8 KiB: log collectors commonly cut at 8 KiB or 16 KiB.
    #[serde(rename = "log-line", with = "units::size")]
    pub line_bytes: usize,
    /// What one handler may write to the error log on average, in bytes per second, with what the
    /// log puts before each line. Its own output and the server's messages about it have this rate
    /// each, so that the one does not displace the other. What is more is dropped.
    ///
    /// 256 KiB/s: 1,000 requests per second with two lines each; 22 GB a day of disk at the worst.
    #[serde(rename = "log-rate", with = "units::rate")]
    pub rate_bytes_per_second: u32,
    /// What one handler may write to the error log at once, in bytes, after it was silent for long.
    ///
    /// 1 MiB: what sixteen requests may log by default.
    #[serde(rename = "log-burst", with = "units::size")]
    pub burst_bytes: usize,
    /// What waits for one log's output, in bytes. No handler gets more than half of what the others
    /// have left free, so that a new line of another one always finds room.
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
