//! Responds after a pause. While it sleeps, the server's thread does other work.

use std::thread;
use std::time::Duration;

use wasgi_sdk::{Environ, Result, StartResponse};

/// The pause in milliseconds if the query has no `ms`.
const SLEEP_MS: u64 = 1000;

/// The maximum pause in milliseconds: longer than the server's default limit for a handler, so that
/// a user can see the server end one.
const SLEEP_MAX_MS: u64 = 60_000;

#[wasgi_sdk::handler]
fn sleep(environ: Environ, start_response: StartResponse) -> Result<String> {
    let asked = environ.query().get("ms").and_then(|ms| ms.parse().ok());
    let ms = asked.unwrap_or(SLEEP_MS).min(SLEEP_MAX_MS);
    thread::sleep(Duration::from_millis(ms));
    start_response.call("200 OK", &[("Content-Type", "text/plain; charset=utf-8")])?;
    Ok(format!("slept for {ms} ms\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wasgi_sdk::testing;

    use super::*;

    #[test]
    fn it_sleeps_as_long_as_asked() {
        let start = Instant::now();
        let response = testing::call(sleep, Environ::builder().path("/sleep?ms=30").build());
        assert!(start.elapsed() >= Duration::from_millis(30));
        assert_eq!(response.text(), "slept for 30 ms\n");
    }

    #[test]
    fn not_at_all_is_fine() {
        let response = testing::call(sleep, Environ::builder().path("/sleep?ms=0").build());
        assert_eq!(
            (response.code(), response.text().as_str()),
            (200, "slept for 0 ms\n")
        );
    }
}
