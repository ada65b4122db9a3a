//! Counts its requests: in fresh memory, each is the first.

use std::sync::atomic::{AtomicU32, Ordering};

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

static COUNT: AtomicU32 = AtomicU32::new(0);

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<String> {
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    start_response.call("200 OK", &TEXT)?;
    Ok(count.to_string())
}
