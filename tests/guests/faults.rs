//! Violates one rule of the contract, selected by `?fault=`, for `wasgi check` to find. Without a
//! fault it follows all rules.

use std::hint::black_box;
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use wasgi_sdk::{Body, Environ, Error, Result, StartResponse};

const TEXT: (&str, &str) = ("Content-Type", "text/plain; charset=utf-8");

#[wasgi_sdk::handler]
fn application(environ: Environ, start_response: StartResponse) -> Result<Body> {
    let query = environ.query();
    let fault = query.get("fault").unwrap_or_default();
    if let Some((status, fields)) = head(fault) {
        // A refused call has no effect, so a plain head can follow.
        if start_response.call(status, &fields).is_err() {
            start_response.call("200 OK", &[TEXT])?;
        }
        return Ok("body".into());
    }
    match fault {
        "length-short" | "length-long" | "no-type" | "type-204" | "body-304" | "location" => {
            framing(fault, &start_response)
        }
        "exception" | "exception-late" | "panic" | "abort" | "stack" | "loop" | "wait"
        | "hoard" => failure(fault, &start_response),
        "log" | "read-on" | "swallow" | "disconnect" => input(fault, &environ, &start_response),
        "head-differs" => {
            let is_head = environ.method() == "HEAD";
            let status = if is_head { "404 Not Found" } else { "200 OK" };
            start_response.call(status, &[TEXT])?;
            Ok("body".into())
        }
        _ => order(fault, &start_response),
    }
}

/// Returns the arguments of `start_response`.
fn head(fault: &str) -> Option<(&'static str, Vec<(&'static str, &'static str)>)> {
    let with = |name, value| ("200 OK", vec![TEXT, (name, value)]);
    let status = |status| (status, vec![TEXT]);
    Some(match fault {
        "status-bare" => status("200"),
        "status-words" => status("OK"),
        "status-long" => status("2000 OK"),
        "status-interim" => status("100 Continue"),
        "status-class" => status("799 Far Out"),
        "status-control" => status("200 O\x07K"),
        "status-umlaut" => status("200 Gr\u{fc}\u{df}e"),
        "status-500" => status("500 Internal Server Error"),
        "name-space" => with("X Field", "a"),
        "name-colon" => with("X-Field:", "a"),
        "name-newline" => with("X-Field\nX", "a"),
        "name-empty" => with("", "a"),
        "name-underscore" => with("X_Field", "a"),
        "name-status" => with("Status", "200 OK"),
        "name-hop" => with("Connection", "close"),
        "name-framing" => with("Transfer-Encoding", "chunked"),
        "value-split" => with("X-Field", "a\r\nSet-Cookie: b"),
        "value-padded" => with("X-Field", " a "),
        "length-words" => with("Content-Length", "four"),
        "length-two" => (
            "200 OK",
            vec![TEXT, ("Content-Length", "4"), ("Content-Length", "5")],
        ),
        "length-twice" => (
            "200 OK",
            vec![TEXT, ("Content-Length", "4"), ("content-length", "4")],
        ),
        "type-twice" => with("Content-Type", "text/html"),
        "too-large" => with("X-Field", "x".repeat(70_000).leak()),
        _ => return None,
    })
}

/// Returns a body that doesn't match its head.
fn framing(fault: &str, start_response: &StartResponse) -> Result<Body> {
    let (status, fields): (&str, &[(&str, &str)]) = match fault {
        "length-short" => ("200 OK", &[TEXT, ("Content-Length", "9")]),
        "length-long" => ("200 OK", &[TEXT, ("Content-Length", "2")]),
        "type-204" => ("204 No Content", &[TEXT]),
        "body-304" => ("304 Not Modified", &[]),
        "location" => ("302 Found", &[TEXT]),
        _ => ("200 OK", &[]),
    };
    start_response.call(status, fields)?;
    Ok(Body::blocks(["bo", "dy"]))
}

/// Ends the request with a failure.
fn failure(fault: &str, start_response: &StartResponse) -> Result<Body> {
    match fault {
        "exception" => Err(Error::new("ValueError", "no value")),
        "exception-late" => {
            start_response.call("200 OK", &[TEXT])?;
            Ok(Body::blocks([Ok("one"), Err(Error::msg("no second"))]))
        }
        "panic" => panic!("out of my depth"),
        "abort" => std::process::abort(),
        "stack" => Ok(deep(0).to_string().into()),
        "loop" => loop {
            black_box(());
        },
        "wait" => {
            thread::sleep(Duration::from_secs(3600));
            Ok(Body::empty())
        }
        _ => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1024 * 1024]);
                black_box(&hoard);
            }
        }
    }
}

#[expect(unconditional_recursion, reason = "what it is for")]
fn deep(level: u64) -> u64 {
    let level = black_box([level; 16]);
    black_box(deep(level[0] + 1)) + level[1]
}

/// Misuses the request's body or the log.
fn input(fault: &str, environ: &Environ, start_response: &StartResponse) -> Result<Body> {
    let mut input = environ.input();
    match fault {
        "log" => {
            let line = "so it goes. ".repeat(80);
            for _ in 0..200 {
                writeln!(environ.errors(), "{line}")?;
            }
        }
        "read-on" => {
            // Requires this many bytes, and keeps reading at the end of the body.
            let mut wanted = [0; 1024];
            let mut read = 0;
            while read < wanted.len() {
                read += input.read(&mut wanted[read..])?;
            }
        }
        "swallow" => {
            let mut body = Vec::new();
            // Treats an error like the end of the body.
            let _ = input.read_to_end(&mut body);
        }
        _ => {
            let mut writer = start_response.call("200 OK", &[TEXT])?;
            // Requires that three blocks are accepted, even if the client has disconnected.
            let mut taken = 0;
            while taken < 3 {
                taken += usize::from(writer.write(b"tick").is_ok());
            }
            return Ok(Body::empty());
        }
    }
    start_response.call("200 OK", &[TEXT])?;
    Ok("body".into())
}

/// Makes calls in the wrong order, or omits one.
fn order(fault: &str, start_response: &StartResponse) -> Result<Body> {
    if matches!(fault, "no-start" | "no-start-blocks") {
        return Ok(match fault {
            "no-start" => "body".into(),
            _ => Body::blocks(["bo", "dy"]),
        });
    }
    let mut writer = start_response.call("200 OK", &[TEXT])?;
    Ok(match fault {
        "twice" => {
            let _ = start_response.call("200 OK", &[TEXT]);
            "body".into()
        }
        "restart-late" => {
            writer.write_all(b"body")?;
            let error = Error::msg("too late");
            let _ = start_response.restart("500 Oops", &[TEXT], error);
            Body::empty()
        }
        "write-inside" => Body::blocks((0..2).map(move |_| {
            writer.write_all(b"written ")?;
            Ok::<_, std::io::Error>("given ")
        })),
        "write-after" => Body::blocks(["body"]).on_close(move || {
            let _ = writer.write_all(b"behind the end");
            Ok(())
        }),
        "empty-blocks" => Body::blocks(["", "", ""]),
        "close-raises" => Body::blocks(["body"]).on_close(|| Err(Error::msg("can't close"))),
        "close-panics" => Body::blocks(["body"]).on_close(|| panic!("closing broke")),
        _ => Body::blocks(["bo", "dy"]),
    })
}
