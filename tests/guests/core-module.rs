//! A handler as any other. The tests build it without its last step, to a core module that tells
//! its interfaces.

use wasgi_sdk::{Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    start_response.call("200 OK", &[("Content-Type", "text/plain")])?;
    let path = environ.get("PATH_INFO").unwrap_or_default();
    Ok(format!("made a component on load: {path}"))
}
