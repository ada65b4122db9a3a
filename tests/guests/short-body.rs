//! Sends a body of 5 bytes but declares 10 (B3). With `?blocks` it yields it in blocks.

use wasgi_sdk::{Body, Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    start_response.call("200 OK", &[("Content-Length", "10")])?;
    Ok(match environ.query().get("blocks") {
        Some(_) => Body::blocks(["12", "345"]),
        None => Body::from("12345"),
    })
}
