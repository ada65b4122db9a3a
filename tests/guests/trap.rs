//! Traps without a message.

use wasgi_sdk::{Environ, StartResponse};

#[wasgi_sdk::handler]
fn application(_environ: Environ, _start_response: StartResponse) -> () {
    std::process::abort()
}
