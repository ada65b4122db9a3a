//! Lists the lines of the request's body, each with its length, as `read_until` returns them (I1).

use std::io::BufRead;

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let mut input = environ.input();
    let mut told = String::new();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        told += &format!("{}: {}\n", line.len(), line.escape_ascii());
    }
    start_response.call("200 OK", &TEXT)?;
    Ok(told)
}
