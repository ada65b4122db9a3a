//! Raises an error after its head and two blocks have been sent.

use wasgi_sdk::{Body, Environ, Error, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<Body> {
    start_response.call("200 OK", &TEXT)?;
    Ok(Body::blocks([
        Ok("one"),
        Ok("two"),
        Err(Error::new("MidStream", "no third block")),
    ]))
}
