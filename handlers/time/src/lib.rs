//! Shows the time, on a page that is generated for each request.

use std::time::{SystemTime, UNIX_EPOCH};

use wasgi_sdk::http::Response;
use wasgi_sdk::{Html, Request, Result};

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;

#[wasgi_sdk::handler]
fn time(_request: Request) -> Result<Response<Html<String>>> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let time = utc(since_epoch.as_secs());
    let micros = since_epoch.subsec_micros();
    let body = format!(
        "<h1>The time</h1>\n\
         <p class=\"lead\">It is <time datetime=\"{time}Z\">{time}.{micros:06}</time> UTC, \
         by the clock of the server.</p>\n\
         <p><a href=\"\">Ask again</a></p>"
    );
    let page = include_str!("../../_page.html").replace("{title}", "the time");
    Ok(Response::builder()
        .header("Cache-Control", "no-store")
        .body(Html(page.replace("{body}", &body)))?)
}

/// Formats seconds since 1970 as ISO 8601 in UTC.
fn utc(seconds: u64) -> String {
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let second = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Converts days since 1970 to year, month and day of the Gregorian calendar.
fn date(mut day: u64) -> (u64, u64, u64) {
    let mut year = 1970;
    while day >= days_of_year(year) {
        day -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while day >= days_of_month(year, month) {
        day -= days_of_month(year, month);
        month += 1;
    }
    (year, month, day + 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, testing};

    use super::*;

    #[test]
    fn seconds_are_a_date() {
        let cases = [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_767_225_599, "2025-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(utc(seconds), expected);
        }
    }

    #[test]
    fn two_requests_get_two_times() {
        let ask = || testing::call(time, Environ::builder().path("/time").build());
        let first = ask();
        assert_eq!(first.status, "200 OK");
        assert_eq!(first.header("cache-control"), Some("no-store"));
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_ne!(first.text(), ask().text());
    }
}
