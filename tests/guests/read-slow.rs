//! Reads the body in pieces of `?size=` bytes, one every `?ms=`. Responds with its length.

use std::io::Read;
use std::thread;
use std::time::Duration;

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.query();
    let number = |name, default| {
        query
            .get(name)
            .and_then(|n| n.parse().ok())
            .unwrap_or(default)
    };
    let pause = Duration::from_millis(number("ms", 10));
    let mut piece = vec![0; usize::try_from(number("size", 1024))?];
    let mut input = environ.input();
    let mut length = 0;
    loop {
        let read = input.read(&mut piece)?;
        if read == 0 {
            break;
        }
        length += read;
        thread::sleep(pause);
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(format!("{length} bytes"))
}
