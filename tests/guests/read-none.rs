//! Responds without reading the body.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<String> {
    start_response.call("200 OK", &TEXT)?;
    Ok("not read".to_owned())
}
