//! Sends the fixtures of `tests/requests/` to the real server: however the bytes arrive, the client
//! gets the responses that the protocol core specifies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::client::{Client, Ending, request};
use crate::support::guests;
use crate::support::server::Server;
use crate::support::site::Site;

/// Longer fixtures are not sent byte by byte: they test lengths, and each byte is a packet.
const SPLIT_MAX_BYTES: usize = 2048;

/// An expected response: the request's method, and the status.
type Exchange = (String, u16);

struct Fixture {
    path: PathBuf,
    bytes: Vec<u8>,
    exchanges: Vec<Exchange>,
}

/// Returns all fixtures, with the statuses of their expected reactions.
fn fixtures() -> Vec<Fixture> {
    let requests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/requests");
    let mut fixtures = Vec::new();
    for folder in ["valid", "invalid"] {
        let entries = fs::read_dir(requests.join(folder)).expect("the folder is there");
        let paths = entries.map(|entry| entry.expect("it can be read").path());
        for path in paths.filter(|path| path.extension().is_some_and(|end| end == "http")) {
            let report = fs::read_to_string(path.with_extension("txt")).expect("its text");
            fixtures.push(Fixture {
                bytes: fs::read(&path).expect("its bytes"),
                exchanges: exchanges(&report),
                path,
            });
        }
    }
    assert!(fixtures.len() > 300, "the fixtures are missing");
    fixtures
}

fn exchanges(report: &str) -> Vec<Exchange> {
    let mut exchanges = Vec::new();
    let (mut method, mut is_own) = ("", None);
    for line in report.lines() {
        let (word, rest) = line.trim_start().split_once(' ').unwrap_or((line, ""));
        match word {
            "rejected" => (method, is_own) = ("", None),
            "request" => method = rest.split(' ').next().unwrap_or_default(),
            "path" => is_own = own_status(rest),
            "answer" => {
                let status = rest.parse().expect("a status");
                exchanges.push((method.to_owned(), is_own.unwrap_or(status)));
            }
            _ => {}
        }
    }
    exchanges
}

/// Returns the status if the server answers the path without a handler.
fn own_status(path: &str) -> Option<u16> {
    match path {
        _ if path.starts_with("\"*\" ") => Some(204),
        _ => None,
    }
}

/// Creates a site with a handler behind every path, which reads the whole body.
fn site() -> Site {
    let site = Site::new();
    for name in ["index.wasm", "[...rest].wasm"] {
        site.install(name, &guests::case("read-all"));
    }
    site
}

#[track_caller]
fn expect_answers(client: &mut Client, fixture: &Fixture) {
    let name = fixture.path.display();
    for (number, (method, status)) in fixture.exchanges.iter().enumerate() {
        let response = loop {
            match client.try_response_to(method) {
                Ok(response) if response.status() == 100 => {}
                Ok(response) => break response,
                Err(cut) => panic!("{name}: answer {number} is {cut:?}"),
            }
        };
        assert_eq!(response.status(), *status, "{name}: answer {number}");
    }
    let (rest, ending) = client.rest();
    assert!(rest.is_empty(), "{name}: also {}", rest.escape_ascii());
    assert_eq!(ending, Ending::Closed, "{name}");
}

#[test]
fn every_fixture_is_answered_as_expected() {
    let site = site();
    let server = Server::with(&site, &["--no-access-log"]);
    for fixture in fixtures() {
        let mut client = server.connect();
        client.send(&fixture.bytes);
        client.finish_sending();
        expect_answers(&mut client, &fixture);
    }
    server.stop();
}

#[test]
fn every_fixture_is_answered_alike_byte_by_byte() {
    let site = site();
    let server = Server::with(&site, &["--no-access-log"]);
    for fixture in fixtures() {
        if fixture.bytes.len() > SPLIT_MAX_BYTES {
            continue;
        }
        let mut client = server.connect();
        for byte in fixture.bytes.chunks(1) {
            // The server may respond and close the connection before the last byte is sent.
            if client.try_send(byte).is_err() {
                break;
            }
        }
        client.try_finish_sending();
        expect_answers(&mut client, &fixture);
    }
    server.stop();
}

#[test]
fn nothing_is_answered_after_a_request_that_cant_be_taken() {
    let site = site();
    let server = Server::with(&site, &["--no-access-log"]);
    for fixture in fixtures() {
        let parent = fixture.path.parent().and_then(Path::file_name);
        // The following request completes a fixture that is only a prefix.
        let is_whole = fixture.exchanges.len() == 1 && fixture.bytes.ends_with(b"\r\n\r\n");
        if parent != Some("invalid".as_ref()) || !is_whole {
            continue;
        }
        let mut client = server.connect();
        client.send([&fixture.bytes, request("GET", "/smuggled").as_bytes()].concat());
        expect_answers(&mut client, &fixture);
    }
    server.stop();
}

#[test]
fn a_head_that_trickles_is_given_up() {
    let site = site();
    let server = Server::with(&site, &["--head-timeout", "0.3"]);
    let mut client = server.connect();
    let mut stream = client.stream();
    let trickle = std::thread::spawn(move || {
        use std::io::Write;
        // Each byte arrives promptly, but the head as a whole exceeds its time limit.
        for byte in b"GET / HTTP/1.1\r\nX: ".iter().chain([b'x'; 5000].iter()) {
            if stream.write_all(&[*byte]).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    });
    assert_eq!(client.response().status(), 408);
    assert_eq!(client.rest().0, b"");
    drop(client);
    assert!(trickle.join().expect("no failure"), "it was cut off");
    server.stop();
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let site = site();
    let server = Server::with(&site, &["--idle-timeout", "0.2"]);
    let mut fresh = server.connect();
    let mut used = server.connect();
    assert_eq!(used.get("/").status(), 200);
    assert_eq!(fresh.ending(), Ending::Closed);
    assert_eq!(used.ending(), Ending::Closed);
    server.stop();
}

#[test]
fn a_body_that_stops_is_given_up() {
    let site = site();
    let server = Server::with(&site, &["--body-timeout", "0.2"]);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.response().status(), 408);
    assert_eq!(client.ending(), Ending::Closed);
    let ended = server.stop();
    assert!(ended.stdout.iter().any(|line| line.contains(" 408 ")));
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_comes() {
    let site = site();
    let server = Server::with(&site, &["--max-body", "1"]);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1048577\r\n\r\n");
    assert_eq!(client.response().status(), 413);
    assert_eq!(client.ending(), Ending::Closed);

    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send([b"80000\r\n", &vec![b'x'; 0x80000][..], b"\r\n"].concat());
    client.send("80001\r\n");
    assert_eq!(client.response().status(), 413);
    assert_eq!(client.ending(), Ending::Closed);

    let just_right = server.connect().post("/", &vec![b'x'; 1024 * 1024]);
    assert!(just_right.text().starts_with("1048576 bytes"));
    server.stop();
}
