//! The fixed page: a handler at its smallest, and its fastest.

use wasgi_sdk::{Environ, Result, StartResponse};

const PAGE: &str = "<!doctype html>";

#[wasgi_sdk::handler]
fn hello(_: Environ, start_response: StartResponse) -> Result<&'static str> {
    start_response.call("200 OK", &[("Content-Type", "text/html; charset=utf-8")])?;
    Ok(PAGE)
}
