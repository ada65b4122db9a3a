//! Request and response bodies: complete, in order, at the speed of the slower side, and with
//! little memory.

use crate::support::body::{MIB, checksum, chunked, noise};
use crate::support::client::{Client, Ending};
use crate::support::eventually;
use crate::support::process::GROWTH_BYTES;
use crate::support::server::Server;
use crate::support::site::Site;

#[test]
fn ten_mebibytes_come_back_as_they_were_and_memory_stays_flat() {
    let body = noise(10 * MIB);
    let site = Site::new().with_demos(["echo"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    // The first use allocates, which is not counted.
    assert_eq!(client.post("/echo", b"once").body, b"once");
    let mark = server.mark_memory();

    let response = client.post("/echo", &body);
    assert!(response.body == body, "the body differs");

    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let response = client.exchange(&chunked(&body));
    assert!(response.body == body, "the body differs");

    server.expect_little_growth(mark);
    assert_eq!(client.get("/echo").status(), 200, "the connection goes on");
    server.stop();
}

#[test]
fn a_client_that_takes_nothing_stalls_nobody_and_fills_no_memory() {
    let site = Site::new()
        .with_page("big.bin", vec![b'x'; 64 * MIB])
        .with_demos(["hello"])
        .with_cases(["big"]);
    let server = Server::new(&site);
    // Both threads should have served every target once.
    for _ in 0..20 {
        server.get("/hello");
        server.get("/big?n=1");
    }
    let descriptors = server.standing_descriptors();
    let before = server.resident_bytes();
    let mut lazy: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    for (number, client) in lazy.iter_mut().enumerate() {
        let target = if number % 2 == 0 {
            "/big?n=64"
        } else {
            "/big.bin"
        };
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        assert_eq!(client.head().status, 200);
    }
    for _ in 0..100 {
        assert_eq!(server.get("/hello").status(), 200);
    }
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES, "grew by {growth} bytes");

    // A client that starts to read receives everything.
    let (body, ending) = lazy.pop().expect("one of them").rest();
    assert_eq!(body.len(), 64 * MIB);
    assert_eq!(ending, Ending::Closed);
    drop(lazy);
    eventually("their descriptors are closed", || {
        server.descriptors() <= descriptors
    });
    server.stop();
}

#[test]
fn a_body_that_comes_slowly_is_read_whole() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::new(&site);
    let body = noise(300);
    let mut client = server.connect();
    client.send("POST /read-all HTTP/1.1\r\nHost: a\r\nContent-Length: 300\r\n\r\n");
    for byte in body.chunks(1) {
        client.send(byte);
    }
    let expected = format!("300 bytes, {:016x}", checksum(&body));
    assert_eq!(client.response().text(), expected);
    server.stop();
}

#[test]
fn a_body_that_nobody_reads_is_no_request() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_cases(["read-none"]);
    let server = Server::new(&site);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let mut client = server.connect();
    for target in ["/read-none", "/missing"] {
        let response = client.post(target, smuggled.as_bytes());
        assert!(matches!(response.status(), 200 | 404), "{target}");
        assert_eq!(client.get("/").text(), "the page", "after {target}");
    }
    let ended = server.stop();
    assert!(!ended.everything().contains("smuggled"));
}

#[test]
fn a_big_body_that_nobody_reads_closes_the_connection_behind_the_answer() {
    let site = Site::new().with_cases(["read-none", "trap"]);
    let server = Server::new(&site);
    for (target, status) in [("/read-none", 200), ("/trap", 500), ("/missing", 404)] {
        for framing in ["Content-Length: 8388608", "Transfer-Encoding: chunked"] {
            let mut client = server.connect();
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
            ));
            // Exceeds what the server discards before it responds, but not what it discards while
            // it closes.
            client.send("80000\r\n");
            client.send(vec![b'x'; 0x80000]);
            assert_eq!(client.response().status(), status, "{target}, {framing}");
            assert_eq!(client.ending(), Ending::Closed, "{target}, {framing}");
        }
    }
    server.stop();
}

/// Many clients read the response only after they have sent the whole body.
#[test]
fn a_client_that_sends_all_before_it_looks_gets_its_answer() {
    let site = Site::new()
        .with_page("page.html", "the page")
        .with_cases(["read-none"]);
    let server = Server::new(&site);
    // Exceeds the buffers of two sockets.
    let body = vec![b'x'; 48 * MIB];
    for (target, length, status) in [
        ("/page.html", 48 * MIB, 405),
        ("/read-none", 48 * MIB, 200),
        ("/page.html", 65 * MIB, 413),
    ] {
        let mut client = server.connect();
        client.begin_post(target, length);
        client.send(&body);
        client.finish_sending();
        assert_eq!(client.response().status(), status, "{target}");
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    server.stop();
}

#[test]
fn a_handler_that_waits_for_a_body_is_told_that_its_client_has_gone() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::new(&site);
    let before = server.standing_descriptors();
    let mut client = server.connect();
    client.send("POST /read-all HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n");
    client.send("Expect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("half");
    drop(client);
    eventually("its descriptor is closed", || {
        server.descriptors() <= before
    });
    server
        .error_log()
        .expect(&["read-all: ", "client disconnected"]);
    server.stop();
}

#[test]
fn a_body_cut_short_is_a_400_to_a_client_that_still_listens() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("POST /read-all HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    client.finish_sending();
    assert_eq!(client.response().status(), 400);
    assert_eq!(client.ending(), Ending::Closed);
    server.stop();
}

#[test]
fn a_failure_is_told_to_a_client_that_has_not_sent_its_body() {
    let site = Site::new().with_cases(["trap"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("POST /trap HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    // The second half is never sent.
    assert_eq!(client.response().status(), 500);
    server.stop();
}

#[test]
fn an_answer_that_leaves_a_large_body_unread_says_that_it_is_the_last() {
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_demos(["echo"])
        .with_cases(["read-none", "read-all", "panic", "exception"])
        .with_cases(["wasi-http", "cgi-raw", "head-204"]);
    let server = Server::new(&site);
    for (target, status) in [
        ("/read-none", 200),
        ("/head-204?status=401%20Unauthorized", 401),
        ("/head-204?status=413%20Content%20Too%20Large", 413),
        ("/wasi-http/status?401", 401),
        ("/cgi-raw?output=Status:%20401%0a%0a", 401),
        (
            "/cgi-raw?output=Status:%20413%0aContent-Type:%20a/b%0a%0ano",
            413,
        ),
        ("/panic", 500),
        ("/exception", 500),
        ("/", 405),
        ("/none", 404),
    ] {
        let large = format!("Content-Length: {}", 10 * MIB);
        for framing in [large.as_str(), "Transfer-Encoding: chunked"] {
            let mut client = server.connect();
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
            ));
            let response = client.response();
            assert_eq!(response.status(), status, "{target}");
            assert_eq!(
                response.field("connection"),
                Some("close"),
                "{target} {framing}"
            );
        }
    }
    // If the body is read, or short enough to be discarded, the connection stays open.
    for (target, length) in [("/read-none", 1000), ("/read-all", MIB), ("/echo", MIB)] {
        let mut client = server.connect();
        let response = client.post(target, &noise(length));
        assert_eq!(response.field("connection"), None, "{target}");
        assert_eq!(client.get("/").status(), 200, "{target}");
    }
    server.stop();
}
