//! Calls `start_response` twice without exc_info (R3). With `?tell` it handles the error and
//! responds with it.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    start_response.call("200 OK", &TEXT)?;
    let second = start_response.call("404 Not Found", &[]);
    if environ.query().get("tell").is_none() {
        second?;
        return Ok("accepted".to_owned());
    }
    Ok(second
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default())
}
