//! Sends a field of `?bytes=` bytes. Responds with the refusal if the server refuses it.

use wasgi_sdk::{Environ, Result, StartError, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let bytes = environ
        .query()
        .get("bytes")
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(1000);
    match start_response.call("200 OK", &[("X-Field", &"x".repeat(bytes))]) {
        Ok(_) => Ok("accepted".to_owned()),
        Err(StartError::Refused(reason)) => {
            start_response.call("200 OK", &[])?;
            Ok(format!("refused: {reason}"))
        }
        Err(error) => Err(error.into()),
    }
}
