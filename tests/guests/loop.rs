//! Loops endlessly. With `?late` it first sends the head and a block. With `?short` it ends at
//! once.

use std::hint::black_box;
use std::io::Write;

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    if environ.query().get("late").is_some() {
        start_response.call("200 OK", &TEXT)?.write_all(b"begun")?;
    }
    if environ.query().get("short").is_some() {
        start_response.call("200 OK", &TEXT)?;
        return Ok("done".to_owned());
    }
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}
