//! Reads the whole body. Responds with its length and checksum (FNV-1a, 64 bits).

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let (mut length, mut checksum) = (0_u64, 0xcbf2_9ce4_8422_2325_u64);
    let mut input = environ.input();
    while let Some(block) = input.block()? {
        length += block.len() as u64;
        for byte in block {
            checksum = (checksum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(format!("{length} bytes, {checksum:016x}"))
}
