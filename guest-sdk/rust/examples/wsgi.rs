//! WSGI's interface as in PEP 3333: `environ`, `start_response` and a body.
//!
//! Counts down from `?from=`, with one block per number.

use std::io::Write;

use wasgi_sdk::{Body, Environ, Result, StartResponse};

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    if environ.method() != "GET" {
        start_response.call("405 Method Not Allowed", &[("Allow", "GET")])?;
        return Ok(Body::empty());
    }
    let from: u32 = match environ.query().get("from").unwrap_or("3").parse() {
        Ok(from) => from,
        Err(error) => {
            // `wsgi.errors` is the server's log.
            writeln!(environ.errors(), "?from= is not a number: {error}")?;
            start_response.call("400 Bad Request", &[("Content-Type", "text/plain")])?;
            return Ok("?from= is not a number\n".into());
        }
    };
    start_response.call("200 OK", &[("Content-Type", "text/plain")])?;
    // Each block is on its way to the client before the next is produced.
    Ok(Body::blocks(
        (0..=from).rev().map(|number| format!("{number}\n")),
    ))
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::testing;

    use super::*;

    #[test]
    fn it_counts_down() {
        let response = testing::call(application, Environ::builder().path("/?from=2").build());
        assert_eq!(response.status, "200 OK");
        assert_eq!(response.blocks, ["2\n", "1\n", "0\n"].map(str::as_bytes));
    }

    #[test]
    fn it_refuses_what_is_no_number() {
        let response = testing::call(application, Environ::builder().path("/?from=ten").build());
        assert_eq!(response.code(), 400);
        assert_eq!(
            response.errors,
            "?from= is not a number: invalid digit found in string\n"
        );
    }

    #[test]
    fn it_only_answers_get() {
        let response = testing::call(application, Environ::builder().method("PUT").build());
        assert_eq!(
            (response.code(), response.header("allow")),
            (405, Some("GET"))
        );
    }
}
