//! Starts over with exc_info (R3), which replaces the head. With `?late` the first head has already
//! been sent, and it raises the error again.

use std::io::Write;

use wasgi_sdk::{Environ, Error, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let mut writer = start_response.call("200 OK", &[("X-Head", "first")])?;
    if environ.query().get("late").is_some() {
        writer.write_all(b"sent")?;
    }
    let error = Error::new("FirstAttempt", "it did not work out");
    start_response.restart("503 Service Unavailable", &[("X-Head", "second")], error)?;
    Ok("replaced".to_owned())
}
