//! The time of day for the `Date` field and the access log, written once a second.

use std::time::{Duration, Instant, SystemTime};

use crate::log::timestamp::{self, SECONDS_BYTES};

/// The current `Date`, an IMF-fixdate (RFC 9110 section 5.6.7).
#[derive(Debug)]
pub(super) struct Date {
    text: [u8; 29],
    /// The same second, as the access log has it.
    log_text: [u8; SECONDS_BYTES],
    until: Instant,
}

impl Date {
    pub(super) fn new(now: Instant) -> Self {
        let mut date = Self {
            text: [b' '; 29],
            log_text: [b' '; SECONDS_BYTES],
            until: now,
        };
        date.update(now);
        date
    }

    pub(super) fn text(&self) -> &[u8; 29] {
        &self.text
    }

    /// The current time in UTC, to the second, as RFC 3339 has it.
    pub(super) fn log_text(&self) -> &str {
        // It is ASCII.
        std::str::from_utf8(&self.log_text).unwrap_or_default()
    }

    /// Writes the date anew if the second is over.
    pub(super) fn update(&mut self, now: Instant) {
        if now < self.until {
            return;
        }
        let wall = SystemTime::now();
        let text = httpdate::fmt_http_date(wall);
        if let Ok(text) = text.as_bytes().try_into() {
            self.text = text;
        }
        self.log_text = timestamp::whole_seconds(wall);
        let into_second = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since_epoch| since_epoch.subsec_nanos());
        self.until = now + Duration::from_nanos(1_000_000_000 - u64::from(into_second));
    }
}
