//! Timestamps for logs: RFC 3339, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

/// The length of a day, in seconds.
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// Formats a point in time with microseconds: `2026-11-29T06:53:18.123456Z`.
pub(super) fn micros(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = whole_seconds(time);
    let seconds = String::from_utf8_lossy(&seconds[..SECONDS_BYTES - 1]);
    format!("{seconds}.{:06}Z", since.subsec_micros())
}

/// The length of a timestamp with seconds, in bytes.
pub(crate) const SECONDS_BYTES: usize = 20;

/// Formats a point in time with seconds, in ASCII: `2026-11-29T06:53:18Z`. Does not allocate: the
/// reactors call this once a second, between requests.
pub(crate) fn whole_seconds(time: SystemTime) -> [u8; SECONDS_BYTES] {
    let ([year, month, day], [hour, minute, second]) = date_and_time(time);
    let mut text = *b"0000-00-00T00:00:00Z";
    write_digits(&mut text[..4], year);
    for (part, number) in [month, day, hour, minute, second].into_iter().enumerate() {
        let at = 5 + 3 * part;
        write_digits(&mut text[at..at + 2], number);
    }
    text
}

/// Formats a point in time as Apache's logs do, in UTC: `10/Oct/2000:13:55:36 +0000`.
pub(crate) fn apache(time: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let ([year, month, day], [hour, minute, second]) = date_and_time(time);
    let month = usize::try_from(month - 1)
        .ok()
        .and_then(|index| MONTHS.get(index));
    let month = month.copied().unwrap_or_default();
    format!("{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000")
}

/// Returns the year, month and day, and the hour, minute and second of a point in time.
fn date_and_time(time: SystemTime) -> ([u64; 3], [u64; 3]) {
    let unix = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (unix.as_secs() / DAY_SECONDS, unix.as_secs() % DAY_SECONDS);
    let (year, month, day) = date(days);
    ([year, month, day], [rest / 3600, rest / 60 % 60, rest % 60])
}

/// Fills a text with the last digits of a number.
fn write_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Converts a number of days since 1970-01-01 to year, month and day of the Gregorian calendar.
/// Years start on March 1, so that a leap day is the last day of its year, in cycles of 400 years
/// (146,097 days).
fn date(days: u64) -> (u64, u64, u64) {
    // Days since 0000-03-01.
    let days = days + 719_468;
    let (cycle, day_of_cycle) = (days / 146_097, days % 146_097);
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Months of 30.6 days: 31, 30, 31, 30, 31, twice, from March on.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = 400 * cycle + year_of_cycle + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_match_the_calendar() {
        for (unix, shown) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let text = whole_seconds(UNIX_EPOCH + Duration::from_secs(unix));
            assert_eq!(text, shown.as_bytes());
        }
        // Each day for 500 years follows the one before.
        let mut before = date(0);
        for day in 1..500 * 365 {
            let after = date(day);
            let is_next = after.2 == before.2 + 1 || after.2 == 1;
            assert!(is_next && after > before, "{before:?} {after:?}");
            before = after;
        }
    }

    #[test]
    fn apaches_time_has_the_name_of_the_month() {
        let time = UNIX_EPOCH + Duration::from_secs(971_186_136);
        assert_eq!(apache(time), "10/Oct/2000:13:55:36 +0000");
        assert_eq!(apache(UNIX_EPOCH), "01/Jan/1970:00:00:00 +0000");
    }

    #[test]
    fn a_message_has_microseconds() {
        let time = UNIX_EPOCH + Duration::new(1, 2_345_678);
        assert_eq!(micros(time), "1970-01-01T00:00:01.002345Z");
    }
}
