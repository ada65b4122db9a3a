//! Connections after their last response: a client that keeps sending a byte at a time is cut off
//! whatever the response was, and a client that sends the rest of its body receives the response.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::client::{Client, Ending};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};

/// The interval between two bytes of a slow client.
const DRIP: Duration = Duration::from_millis(50);

/// A slow client is cut off after two seconds. A server without a minimum rate would wait for
/// thirty. This limit is far from both, for busy machines.
const CUT_OFF_WITHIN: Duration = Duration::from_secs(16);

const FLAGS: [&str; 8] = [
    "--head-timeout",
    "0.3",
    "--body-timeout",
    "0.3",
    "--max-body",
    "1",
    "--request-timeout",
    "3600",
];

/// The last response of a connection, and the request that leads to it.
struct Last {
    status: u16,
    request: Vec<u8>,
}

fn last(status: u16, request: impl Into<Vec<u8>>) -> Last {
    Last {
        status,
        request: request.into(),
    }
}

fn with_fields(fields: &str) -> String {
    format!("POST /none HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n")
}

/// Returns one request for each reason for which a response is the last of its connection.
fn last_answers() -> Vec<Last> {
    let long = "x".repeat(20_000);
    vec![
        last(
            200,
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        ),
        last(200, "GET / HTTP/1.0\r\n\r\n"),
        last(400, "GET / HTTP/1.1\r\n\r\n"),
        last(400, "\x16\x03\x01"),
        last(400, with_fields("Content-Length: -1")),
        last(
            400,
            with_fields("Transfer-Encoding: chunked") + "nonsense\r\n",
        ),
        last(404, with_fields("Content-Length: 1000000")),
        last(
            404,
            with_fields("Expect: 100-continue\r\nContent-Length: 10"),
        ),
        last(408, "GET / HT"),
        last(
            408,
            with_fields("Content-Length: 10").replace("/none", "/read-all") + "half",
        ),
        last(404, with_fields("Content-Length: 10") + "half"),
        last(413, with_fields("Content-Length: 1048577")),
        last(
            413,
            with_fields("Transfer-Encoding: chunked") + "100001\r\n",
        ),
        last(414, format!("GET /{long} HTTP/1.1\r\n")),
        last(417, with_fields("Expect: a miracle")),
        last(431, format!("GET / HTTP/1.1\r\nX: {long}")),
        last(501, with_fields("Transfer-Encoding: gzip, chunked")),
        last(501, "CONNECT test:443 HTTP/1.1\r\nHost: test\r\n\r\n"),
        last(505, "GET / HTTP/2.0\r\n\r\n"),
    ]
}

/// Sends a byte at a time until the server closes the connection, and returns how long that took.
fn drip(mut send: impl FnMut() -> io::Result<()>) -> Duration {
    let start = Instant::now();
    while send().is_ok() && start.elapsed() < CUT_OFF_WITHIN {
        thread::sleep(DRIP);
    }
    start.elapsed()
}

#[track_caller]
fn expect_cut_off(client: &mut Client, what: &str) {
    let mut stream = client.stream();
    let took = drip(|| stream.write_all(b"x"));
    assert!(took < CUT_OFF_WITHIN, "after {what}: not cut off");
}

#[test]
fn a_client_that_drips_is_cut_off_after_every_last_answer() {
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_cases(["read-all"]);
    let server = Server::with(&site, &FLAGS);
    thread::scope(|scope| {
        for last in last_answers() {
            let server = &server;
            scope.spawn(move || {
                let shown = last.request.escape_ascii().to_string();
                let what = format!("{} to {:.60}", last.status, shown);
                let mut client = server.connect();
                client.send(&last.request);
                assert_eq!(client.response().status(), last.status, "{what}");
                expect_cut_off(&mut client, &what);
            });
        }
    });
    server.stop();
}

#[test]
fn a_client_that_drips_is_cut_off_after_it_was_refused() {
    let site = Site::new().with_page("index.html", "a page");
    let server = Server::with(&site, &["--max-connections-per-address", "1"]);
    let mut first = server.connect();
    assert_eq!(first.get("/").status(), 200);
    let mut second = server.connect();
    assert_eq!(second.response().status(), 503);
    expect_cut_off(&mut second, "a 503 for one connection too many");
    server.stop();
}

#[test]
fn a_client_that_drips_is_cut_off_over_tls_as_well() {
    let site = Site::new().with_page("index.html", "a page");
    let certificate = Certificate::make(site.path());
    let flags = [&certificate.flags()[..], &FLAGS[..]].concat();
    let server = Server::with(&site, &flags);
    let long = "x".repeat(20_000);
    let requests = [
        ("400", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        ("408", "GET / HT".to_owned()),
        ("413", with_fields("Content-Length: 1048577")),
        ("414", format!("GET /{long} HTTP/1.1\r\n")),
    ];
    thread::scope(|scope| {
        for (status, request) in requests {
            let (server, certificate) = (&server, &certificate);
            scope.spawn(move || {
                let mut client = TlsClient::connect(server.addr(), certificate);
                client.send(request).expect("sent");
                let answer = client.rest().expect("a whole answer");
                let answer = String::from_utf8_lossy(&answer);
                assert!(
                    answer.starts_with(&format!("HTTP/1.1 {status} ")),
                    "{answer}"
                );
                let took = drip(|| client.send(b"x"));
                assert!(took < CUT_OFF_WITHIN, "after {status}: not cut off");
            });
        }
    });
    server.stop();
}

#[test]
fn a_client_that_sends_the_rest_of_its_body_gets_the_answer() {
    const REST_BYTES: usize = 20 * 1024 * 1024;
    let site = Site::new();
    let server = Server::with(&site, &FLAGS);
    for (status, fields) in [
        (413, format!("Content-Length: {REST_BYTES}")),
        (404, "Content-Length: 1000000".to_owned()),
        (400, format!("Host: again\r\nContent-Length: {REST_BYTES}")),
    ] {
        let mut client = server.connect();
        client.send(with_fields(&fields));
        // The client sends everything before it reads the response, as simple clients do.
        let length = if status == 404 { 1_000_000 } else { REST_BYTES };
        client.send(vec![b'x'; length]);
        assert_eq!(client.response().status(), status, "{fields}");
        assert_eq!(client.ending(), Ending::Closed, "{fields}");
    }
    server.stop();
}
