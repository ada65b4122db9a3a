//! Takes memory until there is none. With `?try` it can take a no, and tells how much it got.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

/// One MiB.
const BLOCK_BYTES: usize = 1024 * 1024;

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let gentle = environ.query().get("try").is_some();
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block = Vec::new();
        if gentle && block.try_reserve_exact(BLOCK_BYTES).is_err() {
            break;
        }
        block.resize(BLOCK_BYTES, 1);
        hoard.push(block);
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(format!("{} MiB", hoard.len()))
}
