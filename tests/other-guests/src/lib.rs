//! A handler whose last step of linking is skipped by `build.rs`: it is a core module that
//! describes its interfaces.

use wasgi_sdk::{Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<String> {
    start_response.call("200 OK", &[("Content-Type", "text/plain")])?;
    Ok("made a component on load".to_owned())
}
