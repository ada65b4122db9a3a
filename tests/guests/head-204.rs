//! Sends a body with a status that has none (B5): `?status=`, or 204.

use wasgi_sdk::{Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.query();
    start_response.call(query.get("status").unwrap_or("204 No Content"), &[])?;
    Ok("not to be sent".to_owned())
}
