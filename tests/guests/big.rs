//! Sends `?n=` MiB in blocks of 64 KiB, each filled with its number modulo 256.

use wasgi_sdk::{Body, Environ, Result, StartResponse};

const BLOCK_BYTES: usize = 64 * 1024;
const BLOCKS_PER_MEBIBYTE: u32 = 16;

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    let mebibytes = environ
        .query()
        .get("n")
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_u32);
    start_response.call("200 OK", &[("Content-Type", "application/octet-stream")])?;
    Ok(Body::blocks(
        (0..mebibytes * BLOCKS_PER_MEBIBYTE)
            .map(|number| vec![number.to_le_bytes()[0]; BLOCK_BYTES]),
    ))
}
