//! HTTPS: the server behind TLS, its certificates, and the treatment of plain HTTP.

use std::fs;
use std::io::ErrorKind;
use std::thread;

use crate::support::client::{Client, Ending};
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient, replace};

/// Exceeds all buffers between server and client, and is not a multiple of a record's size.
const LARGE_BYTES: usize = 5_000_003;

fn site() -> (Site, Certificate) {
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_page("large.bin", vec![b'x'; LARGE_BYTES])
        .with_page_handler("hello", "a handler");
    let certificate = Certificate::make(site.path());
    (site, certificate)
}

#[test]
fn pages_and_handlers_are_served_and_the_end_is_told() {
    let (site, certificate) = site();
    let server = Server::with(&site, &certificate.flags());
    let connect = || TlsClient::connect(server.addr(), &certificate);
    for (target, body) in [("/", "a page"), ("/hello", "a handler")] {
        let answer = connect().get(target).expect("a whole answer");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{answer}");
    }
    let answer = connect().get("/large.bin").expect("a whole answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.contains(&format!("Content-Length: {LARGE_BYTES}")),
        "{head}"
    );
    assert_eq!(body.len(), LARGE_BYTES);
    assert!(body.bytes().all(|byte| byte == b'x'));

    // Several pipelined requests on one connection.
    let mut client = connect();
    let request = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";
    client.send(request.repeat(20)).expect("sent");
    let answers = client.get("/").expect("whole answers");
    assert_eq!(answers.matches("a handler").count(), 20, "{answers}");
    assert_eq!(answers.matches("a page").count(), 1, "{answers}");
    assert!(!server.stop().has_complaints());
}

#[test]
fn handshakes_and_requests_come_in_any_pieces() {
    let (site, certificate) = site();
    let server = Server::with(&site, &certificate.flags());
    for piece_bytes in [1, 7, 300] {
        let mut client = TlsClient::in_pieces(server.addr(), &certificate, b"", piece_bytes);
        let answer = client.get("/hello").expect("a whole answer");
        assert!(answer.ends_with("\r\n\r\na handler"), "{answer}");
    }
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let (site, certificate) = site();
    let server = Server::with(&site, &certificate.flags());
    let descriptors = server.standing_descriptors();
    let mut idle: Vec<_> = (0..50)
        .map(|_| TlsClient::connect(server.addr(), &certificate))
        .collect();
    for client in &mut idle {
        client
            .send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .expect("sent");
    }
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let mut client = TlsClient::connect(server.addr(), &certificate);
                    let answer = client.get("/large.bin").expect("a whole answer");
                    assert!(answer.len() > LARGE_BYTES);
                }
            });
        }
    });
    for client in &mut idle {
        let answer = client.get("/").expect("two whole answers");
        assert_eq!(answer.matches("a page").count(), 2, "{answer}");
    }
    drop(idle);
    eventually("its connections are closed", || {
        server.descriptors() <= descriptors
    });
}

#[test]
fn a_page_that_shrinks_while_it_is_sent_does_not_look_whole() {
    let (site, certificate) = site();
    let server = Server::with(&site, &certificate.flags());
    let mut client = TlsClient::connect(server.addr(), &certificate);
    // Without a length, only the end of TLS shows whether the body is complete.
    let large = vec![b'y'; 64 * 1024 * 1024];
    site.write_page("shrinking.bin", &large);
    client
        .send("GET /shrinking.bin HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .expect("sent");
    client.take(1000).expect("the answer begins");
    fs::File::options()
        .write(true)
        .open(site.html().join("shrinking.bin"))
        .and_then(|file| file.set_len(1000))
        .expect("it can be cut");
    let error = client.rest().expect_err("the answer is cut");
    let cut = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
    assert!(cut.contains(&error.kind()), "{error}");
}

#[test]
fn a_request_in_the_clear_is_told_so_in_the_clear() {
    let (site, certificate) = site();
    let server = Server::with(&site, &certificate.flags());
    for split in [1, 10, usize::MAX] {
        let mut client = server.connect();
        let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
        for piece in request.chunks(split) {
            client.send(piece);
        }
        let response = client.response();
        assert_eq!(response.status(), 400);
        assert!(String::from_utf8_lossy(&response.body).contains("https://"));
        assert_eq!(client.ending(), Ending::Closed);
    }
    // Neither TLS nor HTTP.
    let mut client = server.connect();
    client.send(b"\x00\x01\x02\x03\x04\x05\x06\x07");
    client.try_finish_sending();
    let (alert, ending) = client.rest();
    assert_eq!(ending, Ending::Closed);
    assert_eq!(alert.first(), Some(&0x15), "{}", alert.escape_ascii());
    let answer = TlsClient::connect(server.addr(), &certificate).get("/");
    assert!(answer.expect("it goes on").contains("a page"));
}

#[test]
fn plain_http_is_sent_on_to_https() {
    let (site, certificate) = site();
    let [a, b, c, d] = certificate.flags();
    let server = Server::with(&site, &[a, b, c, d, "--redirect-http", "127.0.0.1:0"]);
    let line = server
        .access_log()
        .find(|line| line.starts_with("sending http://"))
        .expect("it says where");
    let addr = line
        .trim_start_matches("sending http://")
        .split('/')
        .next()
        .and_then(|addr| addr.parse().ok())
        .expect("an address");
    let mut client = Client::connect(addr);
    let port = server.addr().port();
    let response = client.get("/a%20b?c=d");
    assert_eq!(response.status(), 301);
    let expected = format!("https://test:{port}/a%20b?c=d");
    assert_eq!(response.field("Location"), Some(&*expected));
    let response = client.post("/hello", b"body");
    assert_eq!(response.status(), 308);
    let expected = format!("https://test:{port}/hello");
    assert_eq!(response.field("Location"), Some(&*expected));
}

#[test]
fn a_new_certificate_is_used_and_a_broken_one_is_not() {
    let (site, certificate) = site();
    let server = Server::with(&site, &certificate.flags());
    let mut before = TlsClient::connect(server.addr(), &certificate);
    before
        .send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    before.take(100).expect("an answer");

    let certificate = Certificate::make(site.path());
    let mut answer = String::new();
    eventually("the new certificate is in use", || {
        match TlsClient::connect(server.addr(), &certificate).get("/") {
            Ok(got) => answer = got,
            // A client that trusts only the new certificate rejects the old one.
            Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}"),
        }
        !answer.is_empty()
    });
    assert!(answer.contains("a page"), "{answer}");
    // An existing connection continues.
    let answer = before.get("/hello").expect("an answer");
    assert!(answer.contains("a handler"), "{answer}");

    let good = fs::read(&certificate.cert).expect("it is there");
    let kept = Certificate {
        cert: site.path().join("kept.pem"),
        ..certificate.clone()
    };
    replace(&kept.cert, &good);
    replace(&certificate.cert, b"nonsense");
    server
        .error_log()
        .find(|line| line.contains("the old one stays in use"))
        .expect("it says so");
    let answer = TlsClient::connect(server.addr(), &kept).get("/");
    assert!(answer.expect("the old one").contains("a page"));
}

#[test]
fn a_handshake_is_not_waited_for_for_ever() {
    let (site, certificate) = site();
    let [a, b, c, d] = certificate.flags();
    let server = Server::with(&site, &[a, b, c, d, "--idle-timeout", "600"]);
    let clients = [&b""[..], b"\x16\x03\x01\x01\x00\x01"].map(|bytes| {
        let mut client = server.connect();
        client.send(bytes);
        client
    });
    for mut client in clients {
        assert_eq!(client.ending(), Ending::Closed);
    }
}

#[test]
fn a_stop_ends_connections_in_order() {
    let (site, certificate) = site();
    let server = Server::with(&site, &certificate.flags());
    let mut idle = TlsClient::connect(server.addr(), &certificate);
    idle.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    idle.take(100).expect("an answer");
    server.stop();
    assert!(idle.rest().is_ok());
}

#[test]
fn handlers_are_told_the_scheme() {
    let site = Site::new().with_demos(["environ"]);
    let certificate = Certificate::make(site.path());
    let server = Server::with(&site, &certificate.flags());
    let answer = TlsClient::connect(server.addr(), &certificate).get("/environ");
    let answer = answer.expect("an answer");
    assert!(
        answer.contains("<td>wsgi.url_scheme</td><td>https</td>"),
        "{answer}"
    );
}
