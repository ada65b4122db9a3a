//! Times in seconds since 1970, as they are in certificates and records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::log::timestamp;

/// The last second of the year 9999. Later years have more digits.
const LAST: u64 = 253_402_300_799;

/// Returns the time now.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

/// Formats a time.
pub(super) fn shown(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(LAST));
    String::from_utf8_lossy(&timestamp::whole_seconds(time)).into_owned()
}
