//! Writes `?n=` lines to the error log and one each to standard output and standard error, all with
//! the text of `?say=` at their end. With `?newlines=` it instead writes this many empty lines in
//! one call.

use std::io::Write;

use wasgi_sdk::{Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let query = environ.query();
    let said = query.get("say").unwrap_or_default();
    let lines = query.get("n").and_then(|n| n.parse().ok()).unwrap_or(3_u32);
    let mut errors = environ.errors();
    if let Some(count) = query.get("newlines").and_then(|n| n.parse().ok()) {
        errors.write_all(&vec![b'\n'; count])?;
        start_response.call("200 OK", &TEXT)?;
        return Ok(format!("{count} newlines"));
    }
    for line in 1..=lines {
        writeln!(errors, "line {line}{said}")?;
    }
    println!("to standard output{said}");
    eprintln!("to standard error{said}");
    start_response.call("200 OK", &TEXT)?;
    Ok(format!("{lines} lines"))
}
