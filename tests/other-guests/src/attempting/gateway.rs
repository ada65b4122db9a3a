//! An application that responds with the outcome of what its query asks for.

use wasgi_sdk::{Environ, Result, StartResponse};

use crate::attempt::attempt;

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.get("QUERY_STRING").unwrap_or_default();
    let told = attempt(&String::from_utf8_lossy(&query));
    start_response.call("200 OK", &TEXT)?;
    Ok(told)
}
