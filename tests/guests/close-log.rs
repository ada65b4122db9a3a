//! Writes `closed` to the error log when its body is closed (B2). The body has `?n=` blocks of 4
//! KiB, with a pause of `?ms=` before each, or of `?rest=` from the second on; with `?say` it
//! writes `waits` before a pause. With `?raise` closing raises an error; with `?break` the second
//! block does.

use std::io::Write;
use std::thread;
use std::time::Duration;

use wasgi_sdk::{Body, Environ, Error, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

const BLOCK_BYTES: usize = 4096;

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    let query = environ.query();
    let number = |name, default| {
        query
            .get(name)
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let blocks = number("n", 3);
    let first = number("ms", 0);
    let rest = number("rest", first);
    let [raise, broken, say] = ["raise", "break", "say"].map(|name| query.get(name).is_some());

    start_response.call("200 OK", &TEXT)?;
    let body = Body::blocks((0..blocks).map(move |block| {
        let pause = if block == 0 { first } else { rest };
        if say && pause > 0 {
            eprintln!("waits");
        }
        thread::sleep(Duration::from_millis(pause));
        if broken && block == 1 {
            return Err(Error::msg("the second block broke"));
        }
        Ok("x".repeat(BLOCK_BYTES))
    }));
    Ok(body.on_close(move || {
        writeln!(environ.errors(), "closed")?;
        if raise {
            Err(Error::msg("closing broke"))
        } else {
            Ok(())
        }
    }))
}
