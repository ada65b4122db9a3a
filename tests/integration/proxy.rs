//! Clients behind proxies: the PROXY protocol and forwarded fields, from trusted addresses.

use crate::support::client::Ending;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 51234 443\r\n";

/// 2001:db8::1, port 5000, to ::1, port 443.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\
    \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\
    \x13\x88\x01\xbb";

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

fn site() -> Site {
    Site::new().with_page("index.html", "a page")
}

/// Returns the client that the access log names for `target`.
fn client_of(server: &Server, target: &str) -> String {
    let part = format!(" \"GET {target} ");
    let line = server
        .access_log()
        .find(|line| line.contains(&part))
        .expect("a line");
    // The field after the time.
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn the_proxy_header_says_who_the_client_is() {
    let site = site();
    let flags = ["--trust-proxy", "127.0.0.0/8", "--proxy-protocol"];
    let server = Server::with(&site, &flags);
    for (index, (header, expected)) in [
        (V1, "192.0.2.1"),
        (V2, "2001:db8::1"),
        (&b"PROXY UNKNOWN\r\n"[..], "127.0.0.1"),
    ]
    .into_iter()
    .enumerate()
    {
        for split in [1, 9, usize::MAX] {
            let target = format!("/?{index}-{split}");
            let mut client = server.connect();
            let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n");
            for piece in [header, request.as_bytes()].concat().chunks(split) {
                client.send(piece);
            }
            assert_eq!(client.response().status(), 200);
            assert_eq!(client_of(&server, &target), expected);
        }
    }
}

#[test]
fn a_trusted_proxy_without_a_header_gets_no_answer() {
    let site = site();
    let flags = ["--trust-proxy", "127.0.0.1", "--proxy-protocol"];
    let server = Server::with(&site, &flags);
    let cut = &V1[..20];
    for bytes in [REQUEST, b"PROXY TCP4 x\r\n", cut, &V2[..30], b""] {
        let mut client = server.connect();
        client.send(bytes);
        client.try_finish_sending();
        let (answer, _) = client.rest();
        assert!(answer.is_empty(), "{}", answer.escape_ascii());
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["from a trusted proxy rejected"]), 4);
}

#[test]
fn a_header_is_not_waited_for_for_ever() {
    let site = site();
    let flags = ["--trust-proxy", "127.0.0.1", "--proxy-protocol"];
    let server = Server::with(&site, &[&flags[..], &["--idle-timeout", "600"]].concat());
    let mut client = server.connect();
    client.send(&V1[..20]);
    let (answer, _) = client.rest();
    assert!(answer.is_empty(), "{}", answer.escape_ascii());
}

#[test]
fn a_header_of_a_stranger_is_no_request() {
    let site = site();
    let flags = ["--trust-proxy", "192.0.2.0/24", "--proxy-protocol"];
    let server = Server::with(&site, &flags);
    let mut client = server.connect();
    client.send([V1, REQUEST].concat());
    assert_eq!(client.response().status(), 400);
    assert_eq!(client.ending(), Ending::Closed);
    assert_eq!(server.get("/").status(), 200);
}

#[test]
fn the_proxy_header_goes_before_tls() {
    let site = site();
    let certificate = Certificate::make(site.path());
    let [a, b, c, d] = certificate.flags();
    let flags = [a, b, c, d, "--trust-proxy", "127.0.0.1", "--proxy-protocol"];
    let server = Server::with(&site, &flags);
    for (index, piece_bytes) in [5, usize::MAX].into_iter().enumerate() {
        let mut client = TlsClient::in_pieces(server.addr(), &certificate, V1, piece_bytes);
        let target = format!("/?{index}");
        let answer = client.get(&target).expect("a whole answer");
        assert!(answer.ends_with("a page"), "{answer}");
        assert_eq!(client_of(&server, &target), "192.0.2.1");
    }
}

#[test]
fn forwarded_fields_count_from_trusted_addresses_only() {
    let site = site();
    let send = |server: &Server| {
        let mut client = server.connect();
        client.send("GET /x HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.2.3.4, 192.0.2.9\r\n\r\n");
        client.response();
        client_of(server, "/x")
    };
    assert_eq!(send(&Server::new(&site)), "127.0.0.1");
    let trusting = Server::with(&site, &["--trust-proxy", "127.0.0.1"]);
    assert_eq!(send(&trusting), "192.0.2.9");
}
