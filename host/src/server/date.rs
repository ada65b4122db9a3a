//! The time of day for the `Date` field, written once a second.

use std::time::{Duration, Instant, SystemTime};

/// The current `Date`, an IMF-fixdate (RFC 9110 section 5.6.7).
#[derive(Debug)]
pub(super) struct Date {
    text: [u8; 29],
    until: Instant,
}

impl Date {
    pub(super) fn new(now: Instant) -> Self {
        let mut date = Self {
            text: [b' '; 29],
            until: now,
        };
        date.update(now);
        date
    }

    pub(super) fn text(&self) -> &[u8; 29] {
        &self.text
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
        let into_second = wall
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since_epoch| since_epoch.subsec_nanos());
        self.until = now + Duration::from_nanos(1_000_000_000 - u64::from(into_second));
    }
}
