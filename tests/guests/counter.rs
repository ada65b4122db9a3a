//! Counts the requests that its memory has seen: with a new instance, each is the first.
//!
//! With `?panic` it panics, and with `?raise` it raises an error. With `?keep` it stores the
//! environ, and with `?kept` it uses the stored one. With `?compute` it computes for some
//! milliseconds, and with `?forever` longer than its budget. With `?leak` it leaks a MiB.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};

use wasgi_sdk::{Environ, Error, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

static COUNT: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static KEPT: RefCell<Option<Environ>> = const { RefCell::new(None) };
}

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
    let asked = environ.get("QUERY_STRING").unwrap_or_default();
    match &*asked {
        b"panic" => panic!("as it was asked to"),
        b"raise" => return Err(Error::msg("as it was asked to")),
        b"keep" => KEPT.set(Some(environ)),
        b"kept" => {
            KEPT.with_borrow(|kept| kept.as_ref().and_then(|kept| kept.get("REQUEST_METHOD")));
        }
        b"compute" => compute(1_000_000),
        b"forever" => compute(u64::MAX),
        b"leak" => std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20])),
        _ => {}
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(count.to_string())
}

/// Executes turns that the compiler can't optimize away.
fn compute(turns: u64) {
    for turn in 0..turns {
        std::hint::black_box(turn);
    }
}
