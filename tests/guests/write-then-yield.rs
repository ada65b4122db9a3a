//! Writes a block, and returns two more (R4).

use std::io::Write;

use wasgi_sdk::{Body, Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<Body> {
    start_response.call("200 OK", &TEXT)?.write_all(b"one ")?;
    Ok(Body::blocks(["two ", "three"]))
}
