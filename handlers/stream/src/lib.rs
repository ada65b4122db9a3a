//! Streams a response block by block, each as soon as it is produced.

use std::thread;
use std::time::Duration;

use wasgi_sdk::{Body, Environ, Result, StartResponse};

/// The default number of blocks if the query has no `n`, and the maximum.
const BLOCKS: u64 = 20;
const BLOCKS_MAX: u64 = 1000;

/// The default pause between blocks in milliseconds if the query has no `ms`, and the maximum.
const PAUSE_MS: u64 = 100;
const PAUSE_MAX_MS: u64 = 10_000;

#[wasgi_sdk::handler]
fn stream(environ: Environ, start_response: StartResponse) -> Result<Body> {
    let query = environ.query();
    let number = |name| query.get(name).and_then(|value| value.parse().ok());
    let blocks = number("n").unwrap_or(BLOCKS).min(BLOCKS_MAX);
    let pause = Duration::from_millis(number("ms").unwrap_or(PAUSE_MS).min(PAUSE_MAX_MS));

    // Without this field, browsers buffer text until they have guessed its type.
    let fields = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ];
    start_response.call("200 OK", &fields)?;
    Ok(Body::blocks((1..=blocks).map(move |block| {
        if block > 1 {
            thread::sleep(pause);
        }
        format!("block {block} of {blocks}\n")
    })))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use wasgi_sdk::testing;

    use super::*;

    fn call(path: &str) -> testing::Response {
        testing::call(stream, Environ::builder().path(path).build())
    }

    #[test]
    fn each_block_is_made_by_itself() {
        let response = call("/stream?n=3&ms=0");
        let blocks = ["block 1 of 3\n", "block 2 of 3\n", "block 3 of 3\n"];
        assert_eq!(response.blocks, blocks.map(str::as_bytes));
    }

    #[test]
    fn there_is_a_pause_between_blocks_and_none_before_the_first() {
        let start = Instant::now();
        testing::call_and_leave(stream, Environ::builder().path("/?ms=5000").build(), 1);
        assert!(start.elapsed() < Duration::from_secs(5));
        let start = Instant::now();
        call("/stream?n=3&ms=20");
        assert!(start.elapsed() >= Duration::from_millis(40));
    }

    #[test]
    fn numbers_are_bounded_and_nonsense_is_ignored() {
        assert_eq!(
            call("/stream?n=999999&ms=0").blocks.len() as u64,
            BLOCKS_MAX
        );
        assert_eq!(call("/stream?n=no&ms=0").blocks.len() as u64, BLOCKS);
        assert!(call("/stream?n=0").blocks.is_empty());
    }
}
