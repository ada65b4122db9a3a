//! Continues after its response has ended: when its body is closed, it reads the request's body,
//! which it has not read before, and writes a block (`?write`). Writes the results to the log.

use std::io::Write;

use wasgi_sdk::{Body, Environ, Result, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    let write = environ.query().get("write").is_some();
    let mut writer = start_response.call("200 OK", &TEXT)?;
    Ok(Body::blocks(["over"]).on_close(move || {
        let mut errors = environ.errors();
        if write {
            let written = writer.write_all(b"too late");
            writeln!(errors, "wrote: {written:?}")?;
        } else {
            let read = environ.input().block();
            writeln!(errors, "read: {read:?}")?;
        }
        Ok(())
    }))
}
