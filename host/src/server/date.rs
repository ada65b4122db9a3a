//! The time of day for the `Date` field and the access log, formatted once a second.

use std::time::{Duration, Instant, SystemTime};

use crate::log::timestamp::{self, SECONDS_BYTES};

/// The current `Date`, an IMF-fixdate (RFC 9110 section 5.6.7).
#[derive(Debug)]
pub(super) struct Date {
    text: [u8; 29],
    /// The time of the text.
    wall: SystemTime,
    /// The current second in the format of the access log. Formatted on demand: not every server
    /// has an access log.
    log_text: Option<[u8; SECONDS_BYTES]>,
    until: Instant,
}

impl Date {
    pub(super) fn new(now: Instant) -> Self {
        let mut date = Self {
            text: [b' '; 29],
            wall: SystemTime::UNIX_EPOCH,
            log_text: None,
            until: now,
        };
        date.update(now);
        date
    }

    pub(super) fn text(&self) -> &[u8; 29] {
        &self.text
    }

    /// Returns the current time in UTC, to the second, in RFC 3339 format.
    pub(super) fn log_text(&mut self) -> &str {
        let wall = self.wall;
        let text = self
            .log_text
            .get_or_insert_with(|| timestamp::whole_seconds(wall));
        // The text is ASCII.
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Formats the date again if a new second has begun.
    pub(super) fn update(&mut self, now: Instant) {
        if now < self.until {
            return;
        }
        let wall = SystemTime::now();
        let text = httpdate::fmt_http_date(wall);
        if let Ok(text) = text.as_bytes().try_into() {
            self.text = text;
        }
        (self.wall, self.log_text) = (wall, None);
        let into_second = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since_epoch| since_epoch.subsec_nanos());
        self.until = now + Duration::from_nanos(1_000_000_000 - u64::from(into_second));
    }
}
