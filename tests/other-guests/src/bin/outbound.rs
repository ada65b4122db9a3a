//! Attempts what its query asks for, with hosts that may be granted to it.

use wasgi_sdk::{Environ, Result, StartResponse};

#[path = "../outbound/attempt.rs"]
mod attempt;

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.get("QUERY_STRING").unwrap_or_default();
    let told = attempt::attempt(&String::from_utf8_lossy(&query));
    start_response.call("200 OK", &TEXT)?;
    Ok(told)
}

fn main() {}
