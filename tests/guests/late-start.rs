//! Calls `start_response` while it produces its first block (R6).

use wasgi_sdk::{Body, Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<Body> {
    let mut numbers = 1..=3;
    Ok(Body::blocks(std::iter::from_fn(move || {
        let number = numbers.next()?;
        if number == 1
            && let Err(error) = start_response.call("201 Created", &TEXT)
        {
            return Some(Err(error));
        }
        Some(Ok(format!("block {number}\n")))
    })))
}
