//! Recurses until its stack overflows.

use std::hint::black_box;

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[expect(unconditional_recursion, reason = "what it is for")]
fn depth(level: u64) -> u64 {
    let level = black_box([level; 16]);
    black_box(depth(level[0] + 1)) + level[1]
}

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<String> {
    start_response.call("200 OK", &TEXT)?;
    Ok(depth(0).to_string())
}
