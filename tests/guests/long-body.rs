//! Sends a body of 10 bytes but declares 5 (B3). With `?blocks` it yields them in blocks, and with
//! `?endless` it yields more blocks than there is time for.

use wasgi_sdk::{Body, Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    start_response.call("200 OK", &[("Content-Length", "5")])?;
    if environ.query().get("endless").is_some() {
        return Ok(Body::blocks(std::iter::repeat("123")));
    }
    Ok(match environ.query().get("blocks") {
        Some(_) => Body::blocks(["123", "456", "7890"]),
        None => Body::from("1234567890"),
    })
}
