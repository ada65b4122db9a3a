//! Responses that don't depend on the request's body are sent before it arrives. The server then
//! discards the rest of the body, and keeps the connection open if possible.

use std::thread;
use std::time::Duration;

use crate::support::body::chunked;
use crate::support::client::{Client, Ending};
use crate::support::server::Server;
use crate::support::site::Site;

/// The flags of a server that waits an hour for a body: a response that waits for the body makes
/// the test fail.
const PATIENT: [&str; 4] = ["--body-timeout", "3600", "--request-timeout", "3600"];

/// Requests that are answered without their body: the targets of pages and of handlers of each
/// kind, and the status.
const TARGETS: [(&str, u16); 12] = [
    ("/", 405),
    ("/none", 404),
    ("/%", 400),
    ("/read-none", 200),
    ("/head-204?status=401%20Unauthorized", 401),
    ("/panic", 500),
    ("/exception", 500),
    ("/trap", 500),
    ("/no-start", 500),
    ("/wasi-http/status?401", 401),
    ("/cgi-raw?output=Status:%20401%0a%0a", 401),
    ("/cgi-fail?panic", 500),
];

fn site() -> Site {
    Site::new()
        .with_page("index.html", "a page")
        .with_cases(["read-none", "read-all", "head-204", "panic", "exception"])
        .with_cases(["trap", "no-start", "wasi-http", "cgi-raw", "cgi-fail"])
}

fn begin(server: &Server, target: &str, fields: &str) -> Client {
    let mut client = server.connect();
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"
    ));
    client
}

/// Checks that the server sends a response with this status, and then closes the connection.
#[track_caller]
fn expect_last_response(client: &mut Client, status: u16, target: &str) {
    let response = client.response();
    assert_eq!(response.status(), status, "{target}");
    assert_eq!(response.field("connection"), Some("close"), "{target}");
    assert_eq!(client.ending(), Ending::Closed, "{target}");
}

#[test]
fn an_answer_that_needs_no_body_does_not_wait_for_one_of_a_known_length() {
    let site = site();
    let server = Server::with(&site, &PATIENT);
    for (target, status) in TARGETS {
        let mut client = begin(&server, target, "Content-Length: 100");
        let response = client.response();
        assert_eq!(response.status(), status, "{target}");
        assert_eq!(response.field("connection"), None, "{target}");
        // The rest of the body follows the response, and then another request.
        client.send([b'x'; 100]);
        assert_eq!(client.get("/").text(), "a page", "after {target}");
    }
    server.stop();
}

#[test]
fn an_answer_that_needs_no_body_does_not_wait_for_one_of_an_unknown_length() {
    let site = site();
    let server = Server::with(&site, &PATIENT);
    for (target, status) in TARGETS {
        for begun in ["", "5\r\nhello\r\n"] {
            let mut client = begin(&server, target, "Transfer-Encoding: chunked");
            client.send(begun);
            // The body may be too long to be discarded.
            expect_last_response(&mut client, status, target);
        }
    }
    server.stop();
}

#[test]
fn a_chunked_body_that_is_here_whole_has_the_connection_go_on() {
    let site = site();
    let server = Server::with(&site, &PATIENT);
    for (target, status) in [("/", 405), ("/none", 404)] {
        let mut client = server.connect();
        let head =
            format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send([head.as_bytes(), &chunked(b"hello")].concat());
        let response = client.response();
        assert_eq!(response.status(), status, "{target}");
        assert_eq!(response.field("connection"), None, "{target}");
        assert_eq!(client.get("/").text(), "a page", "after {target}");
    }
    server.stop();
}

#[test]
fn a_client_that_waits_to_be_told_to_send_its_body_gets_the_answer_in_place_of_that() {
    let site = site();
    let server = Server::with(&site, &PATIENT);
    for (target, status) in TARGETS {
        for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
            let fields = format!("{framing}\r\nExpect: 100-continue");
            let mut client = begin(&server, target, &fields);
            // The server can't know whether the client will send the body.
            expect_last_response(&mut client, status, target);
        }
    }
    server.stop();
}

#[test]
fn a_request_that_finds_its_handler_busy_is_refused_before_its_body_has_come() {
    let site = site();
    let flags = [&PATIENT[..], &["--max-concurrent", "1"]].concat();
    let server = Server::with(&site, &flags);
    let waits = "Content-Length: 2\r\nExpect: 100-continue";
    let mut first = begin(&server, "/read-all", waits);
    // The first request is running and waits for its body.
    assert_eq!(first.head().status, 100);
    let mut second = begin(&server, "/read-all", "Content-Length: 100");
    let response = second.response();
    assert_eq!(response.status(), 503);
    assert_eq!(response.field("retry-after"), Some("1"));
    assert_eq!(response.field("connection"), None);
    second.send([b'x'; 100]);
    assert_eq!(second.get("/").text(), "a page");
    first.send("ab");
    assert_eq!(first.response().status(), 200);
    server.stop();
}

#[test]
fn a_rest_that_comes_slowly_is_read_away_and_is_no_request() {
    let site = site();
    let server = Server::with(&site, &PATIENT);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (target, status) in TARGETS {
        let mut client = begin(
            &server,
            target,
            &format!("Content-Length: {}", smuggled.len()),
        );
        assert_eq!(client.response().status(), status, "{target}");
        for byte in smuggled.as_bytes().chunks(1) {
            thread::sleep(Duration::from_millis(2));
            client.send(byte);
        }
        assert!(client.is_quiet(), "{target}");
        assert_eq!(client.get("/").text(), "a page", "after {target}");
    }
    let ended = server.stop();
    assert!(!ended.everything().contains("smuggled"));
}

#[test]
fn a_request_that_is_sent_with_the_rest_of_the_body_before_it_is_answered() {
    let site = site();
    let server = Server::with(&site, &PATIENT);
    for (target, status) in TARGETS {
        let mut client = begin(&server, target, "Content-Length: 100000");
        assert_eq!(client.response().status(), status, "{target}");
        let next = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.send([&[b'x'; 100_000], &next[..]].concat());
        assert_eq!(client.response().text(), "a page", "after {target}");
    }
    server.stop();
}

#[test]
fn a_client_that_never_sends_the_rest_has_its_answer_and_is_closed() {
    let site = site();
    let server = Server::with(&site, &["--body-timeout", "0.3"]);
    for (target, status) in TARGETS {
        let mut client = begin(&server, target, "Content-Length: 100");
        assert_eq!(client.response().status(), status, "{target}");
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    server.stop();
}

#[test]
fn a_client_that_ends_its_side_in_the_middle_of_its_body_has_its_answer_and_is_closed() {
    let site = site();
    let server = Server::with(&site, &PATIENT);
    for (target, status) in TARGETS {
        let mut client = begin(&server, target, "Content-Length: 100");
        assert_eq!(client.response().status(), status, "{target}");
        client.finish_sending();
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    server.stop();
}

/// Many clients read the response only after they have sent the whole body.
#[test]
fn a_body_is_read_away_while_a_long_answer_waits_to_be_taken() {
    const BODY_BYTES: usize = 256 * 1024;
    /// Exceeds the buffers of two sockets.
    const ANSWER_BYTES: usize = 32 << 20;
    let site = Site::new().with_page("404.html", vec![b'x'; ANSWER_BYTES]);
    let server = Server::with(&site, &PATIENT);
    let mut client = server.connect();
    client.buffer_little();
    client.begin_post("/none", BODY_BYTES);
    // The response fills the sockets' buffers before the body arrives.
    assert_eq!(client.head().status, 404);
    client.send(vec![b'x'; BODY_BYTES]);
    client.finish_sending();
    let (body, ending) = client.rest();
    assert_eq!(body.len(), ANSWER_BYTES);
    assert_eq!(ending, Ending::Closed);
    server.stop();
}
