//! Passes a forbidden status or field (R1), selected by `?case=`. Responds with the refusal.

use wasgi_sdk::{Environ, Result, StartError, StartResponse};

const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain; charset=utf-8")];

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<String> {
    let (status, name, value) = match environ.query().get("case").unwrap_or_default() {
        "crlf" => ("200 OK", "X-Field", "a\r\nSet-Cookie: b"),
        "lf" => ("200 OK", "X-Field", "a\nb"),
        "nul" => ("200 OK", "X-Field", "a\0b"),
        "name" => ("200 OK", "X Field", "a"),
        "no-name" => ("200 OK", "", "a"),
        "hop" => ("200 OK", "Connection", "close"),
        "framing" => ("200 OK", "Transfer-Encoding", "chunked"),
        "status" => ("200 OK", "Status", "404 Not Found"),
        "length" => ("200 OK", "Content-Length", "-1"),
        "code" => ("OK", "X-Field", "a"),
        "interim" => ("100 Continue", "X-Field", "a"),
        "reason" => ("200 O\r\nK", "X-Field", "a"),
        _ => ("200 OK", "X-Field", "fine"),
    };
    match start_response.call(status, &[(name, value)]) {
        Ok(_) => Ok("accepted".to_owned()),
        Err(StartError::Refused(reason)) => {
            start_response.call("200 OK", &TEXT)?;
            Ok(format!("refused: {reason}"))
        }
        Err(error) => Err(error.into()),
    }
}
