//! Responds with the granted variable that its query names, through the SDK.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.get("QUERY_STRING").unwrap_or_default();
    let value = wasgi_sdk::variable(&String::from_utf8_lossy(&query));
    start_response.call("200 OK", &TEXT)?;
    Ok(value.unwrap_or_else(|| "not set".to_owned()))
}
