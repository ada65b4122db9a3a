//! Bodies, both ways: whole, in order, at the speed of the slower side, and in little memory.

use std::io::Write;
use std::thread;

use crate::support::client::{Client, Ending};
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;

const MIB: usize = 1024 * 1024;

/// What a server may grow by while it moves bodies that are larger: its buffers, the guests'
/// memory, and what a debug build's allocator keeps.
const GROWTH_BYTES: u64 = 16 * MIB as u64;

/// Bytes without a pattern that a mistake could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// FNV-1a, as the guest `read-all` tells it.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Sends while somebody else reads.
fn send_aside(client: &Client, bytes: Vec<u8>) -> thread::JoinHandle<std::io::Result<()>> {
    let mut stream = client.stream();
    thread::spawn(move || stream.write_all(&bytes))
}

/// A body in chunks of many sizes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let sizes = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000];
    let mut sizes = sizes.iter().cycle();
    let (mut chunks, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let size = rest.len().min(*sizes.next().expect("a cycle has no end"));
        let (chunk, behind) = rest.split_at(size);
        chunks.extend_from_slice(format!("{size:x}\r\n").as_bytes());
        chunks.extend_from_slice(chunk);
        chunks.extend_from_slice(b"\r\n");
        rest = behind;
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    chunks
}

#[test]
fn ten_mebibytes_come_back_as_they_were_and_memory_stays_flat() {
    let body = noise(10 * MIB);
    let site = Site::new().with_demos(["echo"]);
    let server = Server::of(&site);
    let mut client = server.connect();
    // What is set up at the first use is not counted.
    assert_eq!(client.post("/echo", b"once").body, b"once");
    let before = server.resident_bytes();
    server.forget_peak();

    let head = format!(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let sender = send_aside(&client, [head.as_bytes(), &body].concat());
    let response = client.response();
    sender.join().expect("no panic").expect("all was sent");
    assert!(response.body == body, "the body differs");

    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let sender = send_aside(&client, [head.as_bytes(), &chunked(&body)].concat());
    let response = client.response();
    sender.join().expect("no panic").expect("all was sent");
    assert!(response.body == body, "the body differs");

    let growth = server.peak_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES, "grew by {growth} bytes");
    assert_eq!(client.get("/echo").status(), 200, "the connection goes on");
    server.stop();
}

#[test]
fn a_body_is_read_whole_however_it_is_framed() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::of(&site);
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

#[test]
fn b1_a_block_has_left_before_the_next_one_is_made() {
    let site = Site::new().with_demos(["echo"]);
    let server = Server::of(&site);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    // Each block exists only once we have seen the one before it.
    for number in 0..20 {
        client.send(format!("8\r\nblock {number:02}\r\n"));
        if number == 0 {
            assert_eq!(client.head().status, 200);
        }
        assert_eq!(client.chunk(), format!("block {number:02}").as_bytes());
        assert!(client.is_quiet(), "nothing was asked for");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), b"");
    server.stop();
}

#[test]
fn b1_blocks_leave_one_by_one_while_the_handler_sleeps() {
    let site = Site::new().with_demos(["stream"]);
    let server = Server::of(&site);
    let mut client = server.connect();
    client.request("GET", "/stream?n=5&ms=50");
    assert_eq!(client.head().status, 200);
    for number in 1..=5 {
        assert_eq!(client.chunk(), format!("block {number} of 5\n").as_bytes());
    }
    assert_eq!(client.chunk(), b"");
    server.stop();
}

#[test]
fn a_client_that_takes_nothing_stalls_nobody_and_fills_no_memory() {
    let site = Site::new()
        .with_page("big.bin", vec![b'x'; 64 * MIB])
        .with_demos(["hello"])
        .with_cases(["big"]);
    let server = Server::of(&site);
    // On both threads, so that both have served everything once.
    for _ in 0..20 {
        server.get("/hello");
        server.get("/big?n=1");
    }
    let descriptors = server.descriptors();
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

    // Whoever begins to read gets all of it.
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
fn i4_a_handler_that_does_not_read_slows_its_client_down() {
    let site = Site::new().with_cases(["read-slow"]);
    let server = Server::with(&site, &["--max-wall-time", "60"]);
    assert_eq!(
        server.connect().post("/read-slow", b"once").text(),
        "4 bytes"
    );
    let before = server.resident_bytes();
    server.forget_peak();
    let mut client = server.connect();
    let length = 32 * MIB;
    client.send(format!(
        "POST /read-slow?size=1&ms=60000 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
    ));
    // Sockets hold a few megabytes. What is beyond that has to wait.
    let sent = client.send_until_blocked(&noise(length));
    assert!(sent < length, "all of it went somewhere");
    let growth = server.peak_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES, "grew by {growth} bytes");
    drop(client);
    drop(server);
}

#[test]
fn i4_a_handler_that_reads_slowly_gets_all_of_it() {
    let site = Site::new().with_cases(["read-slow"]);
    let server = Server::of(&site);
    let body = noise(MIB);
    let response = server.connect().post("/read-slow?size=16384&ms=1", &body);
    assert_eq!(response.text(), format!("{MIB} bytes"));
    server.stop();
}

#[test]
fn a_body_that_comes_slowly_is_read_whole() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::of(&site);
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
    let server = Server::of(&site);
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
    let server = Server::of(&site);
    for (target, status) in [("/read-none", 200), ("/trap", 500), ("/missing", 404)] {
        for framing in ["Content-Length: 8388608", "Transfer-Encoding: chunked"] {
            let mut client = server.connect();
            client.send(format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"
            ));
            // More than the server reads away, and less than it takes while it closes.
            client.send("80000\r\n");
            client.send(vec![b'x'; 0x80000]);
            assert_eq!(client.response().status(), status, "{target}, {framing}");
            assert_eq!(client.ending(), Ending::Closed, "{target}, {framing}");
        }
    }
    server.stop();
}

#[test]
fn i3_100_continue_is_sent_when_the_handler_reads() {
    let site = Site::new().with_cases(["read-all", "read-none"]);
    let server = Server::of(&site);
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

    // It is not sent where the body is here already, or where nobody wants it.
    client.send(expecting("/read-all") + "body");
    assert!(client.response().text().starts_with("4 bytes"));
    for target in ["/read-none", "/missing"] {
        let mut client = server.connect();
        client.send(expecting(target));
        let response = client.response();
        assert_ne!(response.status(), 100, "{target}");
        // Whether the body comes is unknown, so what follows can't be a request.
        assert_eq!(response.field("Connection"), Some("close"), "{target}");
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    server.stop();
}

#[test]
fn b2_a_handler_is_told_that_its_client_has_gone() {
    let site = Site::new().with_cases(["close-log"]);
    let server = Server::of(&site);
    let mut client = server.connect();
    // It would go on for a minute.
    client.request("GET", "/close-log?n=6000&ms=10");
    assert_eq!(client.head().status, 200);
    client.chunk();
    drop(client);
    server.error_log().expect(&["close-log: closed"]);
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

#[test]
fn a_handler_that_waits_for_a_body_is_told_that_its_client_has_gone() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::of(&site);
    let before = server.descriptors();
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
        .expect(&["read-all: ", "client went away"]);
    server.stop();
}

#[test]
fn a_body_cut_short_is_a_400_to_a_client_that_still_listens() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::of(&site);
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
    let server = Server::of(&site);
    let mut client = server.connect();
    client.send("POST /trap HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    // The other half never comes.
    assert_eq!(client.response().status(), 500);
    server.stop();
}
