//! Takes memory until there is none. With `?try` it can take a no, and tells how much it got. With
//! `?hold=` it takes so many MiB and reads the request's body; then it answers, or with `&end=trap`
//! it traps, with `&end=spin` it computes for ever, and with `&end=send` it sends all that it has
//! in one block.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

/// One MiB.
const BLOCK_BYTES: usize = 1024 * 1024;

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.query();
    if let Some(mib) = query.get("hold").and_then(|mib| mib.parse::<usize>().ok()) {
        return hold(mib, query.get("end"), &environ, &start_response);
    }
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

fn hold(
    mib: usize,
    end: Option<&str>,
    environ: &Environ,
    start_response: &StartResponse,
) -> Result<String> {
    let held = "x".repeat(mib * BLOCK_BYTES);
    let mut input = environ.input();
    while input.block()?.is_some() {}
    start_response.call("200 OK", &TEXT)?;
    match end {
        Some("trap") => std::process::abort(),
        Some("spin") => loop {
            std::hint::black_box(&held);
        },
        Some("send") => Ok(held),
        _ => Ok(format!(
            "{} MiB",
            std::hint::black_box(&held).len() / BLOCK_BYTES
        )),
    }
}
