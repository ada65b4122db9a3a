//! Allocates memory until none is left. With `?try` it handles a failed allocation, and reports how
//! much it got. With `?hold=` it allocates this many MiB and reads the request's body; it then
//! responds, or traps with `&end=trap`, computes endlessly with `&end=spin`, or sends all of its
//! memory in one block with `&end=send`. With `?keep=` it keeps the request's body in memory; if
//! there is not enough, it traps (`keep=trap`), fails (`keep=fail`), or responds with that status.
//! With `?count` it reads the body without keeping it, then allocates memory until none is left.

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

/// The bytes in one MiB.
const BLOCK_BYTES: usize = 1024 * 1024;

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.query();
    if let Some(mib) = query.get("hold").and_then(|mib| mib.parse::<usize>().ok()) {
        return hold(mib, query.get("end"), &environ, &start_response);
    }
    if let Some(otherwise) = query.get("keep") {
        return keep(otherwise, &environ, &start_response);
    }
    if query.get("count").is_some() {
        let mut input = environ.input();
        while input.block()?.is_some() {}
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

fn keep(otherwise: &str, environ: &Environ, start_response: &StartResponse) -> Result<String> {
    let mut kept: Vec<u8> = Vec::new();
    let mut input = environ.input();
    while let Some(block) = input.block()? {
        if otherwise != "trap" && kept.try_reserve(block.len()).is_err() {
            drop(kept);
            if otherwise == "fail" {
                return Err(std::io::Error::other("no memory").into());
            }
            start_response.call(&format!("{otherwise} No Memory"), &TEXT)?;
            return Ok("no memory".into());
        }
        kept.extend_from_slice(&block);
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(format!("{} bytes", kept.len()))
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
