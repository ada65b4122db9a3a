//! Calls a handler in a native build, without a server and without WebAssembly.
//!
//! ```
//! use wasgi_sdk::{Environ, Request, RequestExt, testing};
//!
//! fn greet(request: Request) -> String {
//!     format!("Hello, {}!", request.query().get("name").unwrap_or("world"))
//! }
//!
//! let response = testing::call(greet, Environ::builder().path("/greet?name=Ada").build());
//! assert_eq!(response.status, "200 OK");
//! assert_eq!(response.text(), "Hello, Ada!");
//! ```
//!
//! The simulated server follows the contract's rules for heads and blocks (R1 to R4, R6, B2): a
//! test fails where a request would. It checks a head with the server's own functions and the
//! server's default limit. It adds no fields, and applies no other budgets.

use crate::backend::{Head, Outgoing};
use crate::body::{Blocks, Content};
use crate::environ::Environ;
use crate::error::{Error, Exception, Result};
use crate::handler::Handler;
use crate::refusal::WriteError;
use crate::start_response::StartResponse;

const NOT_STARTED: &str = "the body started before start_response was called";

/// The response that a client would have received, and the server's log.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status, such as `200 OK`. It is `500 Internal Server Error` if no head was sent.
    pub status: String,
    /// The fields, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The blocks of the body that were sent, in order, without empty ones.
    pub blocks: Vec<Vec<u8>>,
    /// The text that was written to `wsgi.errors`.
    pub errors: String,
    /// The exceptions that the handler raised: when it was called, when it produced a block, or in
    /// `close`.
    pub exceptions: Vec<Exception>,
}

#[cfg(feature = "client")]
pub use crate::client::native::Upstream;

/// Lets a function answer the requests that the handler sends to other hosts, in this thread, until
/// the result is dropped. Without it, they are denied, as without a grant.
#[cfg(feature = "client")]
pub fn upstream(
    answer: impl Fn(http::Request<Vec<u8>>) -> http::Response<Vec<u8>> + 'static,
) -> Upstream {
    Upstream::new(answer)
}

/// Calls a handler and receives its complete response.
#[expect(
    clippy::needless_pass_by_value,
    reason = "pass the handler itself, without an `&`"
)]
pub fn call<Form>(handler: impl Handler<Form>, environ: Environ) -> Response {
    exchange(&handler, &environ, None)
}

/// Calls a handler for a client that disconnects after this many blocks (B2).
#[expect(
    clippy::needless_pass_by_value,
    reason = "pass the handler itself, without an `&`"
)]
pub fn call_and_leave<Form>(
    handler: impl Handler<Form>,
    environ: Environ,
    blocks: usize,
) -> Response {
    exchange(&handler, &environ, Some(blocks))
}

impl Response {
    /// Returns the numeric status code.
    pub fn code(&self) -> u16 {
        self.status
            .split(' ')
            .next()
            .and_then(|code| code.parse().ok())
            .unwrap_or_default()
    }

    /// Returns the first value of a field that is text, if any.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Returns all values of a field that are text.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|field| field.0.eq_ignore_ascii_case(name));
        named
            .filter_map(|field| std::str::from_utf8(&field.1).ok())
            .collect()
    }

    /// Returns the body.
    pub fn body(&self) -> Vec<u8> {
        self.blocks.concat()
    }

    /// Returns the body as text. Invalid UTF-8 becomes U+FFFD.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }
}

fn exchange<Form>(
    handler: &impl Handler<Form>,
    environ: &Environ,
    blocks_max: Option<usize>,
) -> Response {
    let start_response = StartResponse::new(Default::default());
    start_response.backend().outgoing().blocks_max = blocks_max;

    let body = handler.handle(environ.clone(), start_response.clone());
    let (sent, closed) = match body.map(|body| body.content) {
        Err(raised) => (Err(raised), Ok(())),
        Ok(Content::Whole(block)) => (send(&start_response, &block).map(drop), Ok(())),
        Ok(Content::Blocks(mut blocks)) => {
            let sent = send_all(&start_response, &mut *blocks);
            (sent, blocks.close())
        }
    };
    let outgoing = std::mem::take(&mut *start_response.backend().outgoing());
    let started = outgoing.head.is_some();
    let sent = sent.and_then(|()| {
        if started {
            Ok(())
        } else {
            Err(Error::msg(NOT_STARTED))
        }
    });
    finish(outgoing, environ.logged(), [sent, closed])
}

/// Sends all blocks, unless the client disconnects.
fn send_all(start_response: &StartResponse, blocks: &mut dyn Blocks) -> Result<()> {
    while let Some(block) = blocks.next()? {
        if !send(start_response, &block)? {
            break;
        }
    }
    Ok(())
}

/// Sends a block. Returns whether the client accepts another one.
fn send(start_response: &StartResponse, block: &[u8]) -> Result<bool> {
    if block.is_empty() {
        return Ok(true);
    }
    match start_response.backend().write(block) {
        Err(WriteError::NotStarted) => Err(Error::msg(NOT_STARTED)),
        Err(WriteError::Disconnected) => Ok(false),
        Ok(()) => Ok(start_response.backend().outgoing().wants_blocks()),
    }
}

/// Returns the client's view at the end. A failure before the head is a response with status 500.
fn finish(outgoing: Outgoing, errors: String, results: [Result<()>; 2]) -> Response {
    let failed = results[0].is_err();
    let raised = results
        .into_iter()
        .filter_map(Result::err)
        .map(|error| error.exception());
    let exceptions = outgoing.exc_info.into_iter().chain(raised).collect();
    let blocks = outgoing.blocks;
    match outgoing.head {
        Some(Head { status, headers }) if !failed || !blocks.is_empty() => Response {
            status: String::from_utf8_lossy(&status).into_owned(),
            headers,
            blocks,
            errors,
            exceptions,
        },
        _ => Response {
            status: "500 Internal Server Error".to_owned(),
            errors,
            exceptions,
            ..Response::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::body::Body;
    use crate::refusal::StartError;

    const TEXT: [(&str, &str); 1] = [("Content-Type", "text/plain")];

    fn call_wsgi(handler: impl Fn(Environ, StartResponse) -> Result<Body>) -> Response {
        call(handler, Environ::builder().build())
    }

    #[test]
    fn r1_values_that_may_not_be_sent_are_refused() {
        let cases = [
            ("20", ("A", "b")),
            ("100 Continue", ("A", "b")),
            ("2000 OK", ("A", "b")),
            ("OK 200", ("A", "b")),
            ("200 O\nK", ("A", "b")),
            ("200 OK", ("", "b")),
            ("200 OK", ("A b", "c")),
            ("200 OK", ("A", "b\r\nSet-Cookie: c")),
            ("200 OK", ("Status", "404")),
            ("200 OK", ("Connection", "close")),
            ("200 OK", ("transfer-encoding", "chunked")),
        ];
        for (status, field) in cases {
            let response = call_wsgi(|_, start_response| {
                assert!(matches!(
                    start_response.call(status, &[field]),
                    Err(StartError::Refused(_))
                ));
                start_response.call("200 OK", &TEXT)?;
                Ok("unchanged".into())
            });
            assert_eq!(response.text(), "unchanged", "{status:?} {field:?}");
        }
    }

    #[test]
    fn r1_lengths_and_sizes_that_the_server_refuses_are_refused() {
        let refused = |fields: &[(&str, &str)], expected: &str| {
            let response = call_wsgi(|_, start_response| {
                match start_response.call("200 OK", fields).err() {
                    Some(StartError::Refused(why)) => assert!(why.contains(expected), "{why}"),
                    other => panic!("{expected}: {other:?}"),
                }
                start_response.call("200 OK", &TEXT)?;
                Ok("unchanged".into())
            });
            assert_eq!(response.text(), "unchanged", "{expected}");
        };
        refused(&[("Content-Length", "abc")], "not a number");
        let two = [("Content-Length", "5"), ("content-length", "6")];
        refused(&two, "two different Content-Length");
        refused(&[("X", &"a".repeat(64 * 1024))], "the limit is 65536");
        refused(&[("X", "a"); 1001], "the limit is 1000");
    }

    #[test]
    fn r1_repeated_fields_are_kept() {
        let response = call_wsgi(|_, start_response| {
            start_response.call("200 OK", &[("Set-Cookie", "a"), ("Set-Cookie", "b")])?;
            Ok(Body::empty())
        });
        assert_eq!(response.all("set-cookie"), ["a", "b"]);
        assert!(response.blocks.is_empty());
    }

    #[test]
    fn r3_a_second_call_is_an_error_and_a_restart_replaces_the_head() {
        let response = call_wsgi(|_, start_response| {
            start_response.call("200 OK", &TEXT)?;
            assert_eq!(
                start_response.call("404 X", &[]).err(),
                Some(StartError::AlreadyStarted)
            );
            start_response.restart("503 Busy", &[], Error::msg("full"))?;
            Ok("come back".into())
        });
        assert_eq!(
            (response.code(), response.text().as_str()),
            (503, "come back")
        );
        assert_eq!(response.exceptions[0].message, "full");
    }

    #[test]
    fn r3_a_restart_after_the_head_raises_its_error_again() {
        let response = call_wsgi(|_, start_response| {
            start_response.call("200 OK", &TEXT)?.write_all(b"sent")?;
            start_response.restart("503 Busy", &[], Error::new("Late", "full"))?;
            Ok("unreachable".into())
        });
        assert_eq!((response.code(), response.text().as_str()), (200, "sent"));
        assert_eq!(response.exceptions[0].kind, "Late");
    }

    #[test]
    fn r4_written_blocks_go_first() {
        let response = call_wsgi(|_, start_response| {
            let mut writer = start_response.call("200 OK", &TEXT)?;
            writer.write_all(b"one")?;
            Ok(Body::blocks(["", "two", "three"]))
        });
        assert_eq!(response.blocks, [b"one".as_slice(), b"two", b"three"]);
    }

    #[test]
    fn r6_the_first_block_may_start_the_response() {
        let response = call_wsgi(|_, start_response| {
            Ok(Body::blocks(std::iter::once_with(move || {
                start_response.call("201 Created", &TEXT).map(|_| "late")
            })))
        });
        assert_eq!((response.code(), response.text().as_str()), (201, "late"));
    }

    #[test]
    fn a_body_without_a_head_is_an_error() {
        for body in ["body", ""] {
            let response = call_wsgi(|_, _| Ok(body.into()));
            assert_eq!(response.code(), 500, "{body:?}");
            assert_eq!(response.exceptions[0].message, NOT_STARTED);
        }
    }

    #[test]
    fn b2_close_runs_at_every_end() {
        let handler = |environ: Environ, start_response: StartResponse| -> Result<Body> {
            start_response.call("200 OK", &TEXT)?;
            let blocks = Body::blocks([Ok("one"), Ok("two"), Err("broken")]);
            Ok(blocks.on_close(move || Ok(writeln!(environ.errors(), "closed")?)))
        };
        let failed = call(handler, Environ::builder().build());
        assert_eq!(
            (failed.text().as_str(), failed.errors.as_str()),
            ("onetwo", "closed\n")
        );
        assert_eq!(failed.exceptions[0].message, "broken");

        let left = call_and_leave(handler, Environ::builder().build(), 1);
        assert_eq!(
            (left.text().as_str(), left.errors.as_str()),
            ("one", "closed\n")
        );
        assert!(left.exceptions.is_empty());
    }

    #[test]
    fn an_exception_before_the_head_is_sent_is_status_500() {
        let response = call_wsgi(|_, start_response| {
            start_response.call("200 OK", &TEXT)?;
            Err(Error::new("ValueError", "no"))
        });
        assert_eq!((response.code(), response.headers.len()), (500, 0));
        assert_eq!(response.exceptions[0].kind, "ValueError");
    }
}
