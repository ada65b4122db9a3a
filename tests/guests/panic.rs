//! Panics with a message.

use wasgi_sdk::{Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, _start_response: StartResponse) -> Result<String> {
    let query = environ.text("QUERY_STRING").unwrap_or_default();
    panic!("asked to panic with {query:?}")
}
