//! Yields an empty block, which sends no head (R2), and then replaces the head.

use wasgi_sdk::{Body, Environ, Error, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<Body> {
    start_response.call("200 OK", &TEXT)?;
    let mut step = 0;
    Ok(Body::blocks(std::iter::from_fn(move || {
        step += 1;
        match step {
            1 => Some(Ok("")),
            2 => {
                let error = Error::msg("changed its mind");
                let started = start_response.restart("503 Service Unavailable", &TEXT, error);
                Some(started.map(|_| "replaced"))
            }
            _ => None,
        }
    })))
}
