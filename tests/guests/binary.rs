//! Sends every byte: in its body, and in its reason and a field as far as they are allowed there.

use wasgi_sdk::{Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(_environ: Environ, start_response: StartResponse) -> Result<Vec<u8>> {
    let all: Vec<u8> = (0..=255).collect();
    let field: Vec<u8> = all
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_control())
        .collect();
    let fields: [(&str, &[u8]); 2] = [
        ("Content-Type", b"application/octet-stream"),
        ("X-Bytes", &field),
    ];
    let status = [b"200 ", &*field].concat();
    start_response.call_bytes(status, fields)?;
    Ok(all)
}
