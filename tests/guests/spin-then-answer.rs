//! Computes for some hundred milliseconds (`?millions=` of turns), then responds.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let millions = environ
        .query()
        .get("millions")
        .and_then(|n| n.parse().ok())
        .unwrap_or(200_u64);
    let mut value = 88_172_645_463_325_252_u64;
    for _ in 0..millions * 1_000_000 {
        // Marsaglia's xorshift: each turn depends on the previous one.
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(format!("{value:016x}"))
}
