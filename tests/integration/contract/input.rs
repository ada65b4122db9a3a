//! The request's body and the error log: rules I1 to I5.

use crate::support::body::{MIB, checksum, chunked, noise};
use crate::support::client::Ending;
use crate::support::server::Server;
use crate::support::site::Site;

/// I1: "An SDK provides `read`, `readline`, `readlines` and iteration"
#[test]
fn i1_lines_are_whole_wherever_the_client_breaks_them() {
    let site = Site::new().with_cases(["lines"]);
    let server = Server::new(&site);
    let lines = "1: \\n\n4: one\\n\n5: two\\r\\n\n4: \\xff\\x00!\\n\n4: last\n";
    let body = b"\none\ntwo\r\n\xff\x00!\nlast";
    // Splits the body at every offset; each part is a chunk that is sent separately.
    for cut in 0..=body.len() {
        let mut client = server.connect();
        client.send("POST /lines HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        for part in [&body[..cut], &body[cut..]] {
            client.send(part_of(part));
        }
        client.send("0\r\n\r\n");
        assert_eq!(client.response().text(), lines, "cut at {cut}");
    }
    let mut client = server.connect();
    client.send("POST /lines HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\n");
    for byte in body.chunks(1) {
        client.send(byte);
    }
    assert_eq!(client.response().text(), lines);
    server.stop();
}

/// Encodes a chunk. Returns nothing for no bytes, since an empty chunk would end the body.
fn part_of(bytes: &[u8]) -> Vec<u8> {
    match bytes.len() {
        0 => Vec::new(),
        length => [format!("{length:x}\r\n").as_bytes(), bytes, b"\r\n"].concat(),
    }
}

/// I2: "The body ends at its Content-Length, or at the end of the chunked body"
#[test]
fn i2_a_body_ends_where_its_framing_says() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    for length in [0, 1, 1000, 65_535, 65_536, 65_537, 200_000, 3 * MIB] {
        let body = noise(length);
        let expected = format!("{length} bytes, {:016x}", checksum(&body));
        assert_eq!(client.post("/read-all", &body).text(), expected);
        client.send("POST /read-all HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunked(&body));
        assert_eq!(client.response().text(), expected);
    }
    server.stop();
}

/// I2: "Each further `read` returns an empty block."
#[test]
fn i2_a_body_that_is_over_stays_over() {
    let site = Site::new().with_cases(["late", "faults"]);
    let server = Server::new(&site);
    // The body has ten bytes and the handler requests 1024: each read after the end returns an
    // empty block at once.
    let server_times_out = Server::with(&site, &["--max-cpu-time", "0.2"]);
    let mut client = server_times_out.connect();
    let response = client.post("/faults?fault=read-on", b"ten bytes.");
    assert_eq!(
        response.status(),
        504,
        "it went on reading, and never waited"
    );
    server_times_out.stop();
    // Without a body, a read doesn't wait either.
    assert_eq!(server.get("/late").text(), "over");
    server.error_log().expect(&["late: read: Ok(None)"]);
    server.stop();
}

/// I3: "when the handler first waits for the body"
#[test]
fn i3_100_continue_is_sent_when_the_handler_reads() {
    let site = Site::new().with_cases(["read-all", "read-none"]);
    let server = Server::new(&site);
    let expecting = |target: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let mut client = server.connect();
    client.send(expecting("/read-all"));
    let interim = client.head();
    assert_eq!((interim.status, &*interim.reason), (100, "Continue"));
    assert!(interim.names().is_empty());
    client.send("body");
    assert!(client.response().text().starts_with("4 bytes"));

    // It is not sent if the body has already arrived, or if the handler doesn't read it.
    client.send(expecting("/read-all") + "body");
    assert!(client.response().text().starts_with("4 bytes"));
    for target in ["/read-none", "/missing"] {
        let mut client = server.connect();
        client.send(expecting(target));
        let response = client.response();
        assert_ne!(response.status(), 100, "{target}");
        // The server can't know whether the client will send the body, so it can't interpret the
        // following bytes.
        assert_eq!(response.field("Connection"), Some("close"), "{target}");
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    server.stop();
}

/// I4: "rather than buffer without bound"
#[test]
fn i4_a_handler_that_does_not_read_slows_its_client_down() {
    let site = Site::new().with_cases(["read-slow"]);
    let server = Server::with(&site, &["--max-wall-time", "60"]);
    assert_eq!(
        server.connect().post("/read-slow", b"once").text(),
        "4 bytes"
    );
    let mark = server.mark_memory();
    let mut client = server.connect();
    let length = 32 * MIB;
    client.begin_post("/read-slow?size=1&ms=60000", length);
    // Sockets buffer a few megabytes. The client can't send more.
    let sent = client.send_until_blocked(&noise(length));
    assert!(sent < length, "all of it went somewhere");
    server.expect_little_growth(mark);
    drop(client);
    drop(server);
}

/// I4: "the server stops reading from the client"
#[test]
fn i4_a_handler_that_reads_slowly_gets_all_of_it() {
    let site = Site::new().with_cases(["read-slow"]);
    let server = Server::new(&site);
    let body = noise(MIB);
    let response = server.connect().post("/read-slow?size=16384&ms=1", &body);
    assert_eq!(response.text(), format!("{MIB} bytes"));
    server.stop();
}

/// I5: "with the handler's name before each line"
#[test]
fn i5_the_error_log_names_the_handler_on_each_line() {
    let site = Site::new().with_cases(["errors"]);
    let server = Server::new(&site);
    assert_eq!(server.get("/errors?n=3").text(), "3 lines");
    let ended = server.stop();
    for line in [
        "line 1",
        "line 2",
        "line 3",
        "to standard output",
        "to standard error",
    ] {
        let line = format!("errors: {line}");
        assert_eq!(ended.stderr_with(&[&line]), 1, "{}", ended.everything());
    }
}
