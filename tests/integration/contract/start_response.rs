//! How a response begins: rules R1 to R6.

use super::get_and_go_on;
use crate::support::client::Ending;
use crate::support::response::Framing;
use crate::support::server::Server;
use crate::support::site::Site;

/// R1: "Fields are ordered pairs; repeated fields are kept."
#[test]
fn r1_repeated_fields_are_kept_in_order() {
    let site = Site::new().with_cases(["set-cookies"]);
    let server = Server::new(&site);
    let response = server.get("/set-cookies");
    assert_eq!(response.head.all("Set-Cookie"), ["a=1; Path=/", "b=2"]);
    server.stop();
}

/// R1: "The call fails with a specific error"
#[test]
fn r1_what_may_not_be_sent_is_refused_at_the_call() {
    let site = Site::new().with_cases(["bad-header", "counter"]);
    let server = Server::new(&site);
    assert_eq!(server.get("/bad-header").text(), "accepted");
    for (case, reason) in [
        ("crlf", "control character"),
        ("lf", "control character"),
        ("nul", "control character"),
        ("name", "not a token"),
        ("no-name", "not a token"),
        ("hop", "hop-by-hop"),
        ("framing", "hop-by-hop"),
        ("status", "first argument"),
        ("length", "not a number"),
        ("code", "three digits"),
        ("interim", "only the server"),
        ("reason", "control character"),
    ] {
        let response = get_and_go_on(&server, &format!("/bad-header?case={case}"));
        let text = response.text();
        assert_eq!(response.status(), 200, "{case}: {text}");
        assert!(
            text.starts_with("refused: ") && text.contains(reason),
            "{case}: {text}"
        );
        assert_eq!(response.field("X-Field"), None, "{case}");
        assert_eq!(response.field("Set-Cookie"), None, "{case}");
    }
    server.stop();
}

/// R1: "The reason and field values are bytes and are sent unchanged"
#[test]
fn r1_every_byte_that_may_be_sent_is_sent() {
    let site = Site::new().with_cases(["binary"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", "/binary");
    client.finish_sending();
    let (bytes, _) = client.rest();
    let all: Vec<u8> = (0..=255).collect();
    assert!(bytes.ends_with(&all));
    let field: Vec<u8> = all
        .into_iter()
        .filter(|byte| !byte.is_ascii_control())
        .collect();
    let status_line = [b"HTTP/1.1 200 ".as_slice(), &field, b"\r\n"].concat();
    assert!(bytes.starts_with(&status_line), "{}", bytes.escape_ascii());
    let line = [b"X-Bytes:".as_slice(), &field, b"\r\n"].concat();
    // A leading space may belong to the value or to the field's syntax.
    let text: Vec<u8> = bytes
        .windows(2)
        .filter(|pair| *pair != b"  ")
        .map(|pair| pair[0])
        .collect();
    let found = text.windows(line.len()).any(|window| window == line);
    assert!(found, "{}", bytes.escape_ascii());
    server.stop();
}

/// R2: "The call sends nothing."
#[test]
fn r2_calling_start_response_sends_nothing() {
    let site = Site::new().with_cases(["empty-first-block", "twice", "counter"]);
    let server = Server::new(&site);
    // After an empty block, the head can still be replaced.
    let replaced = get_and_go_on(&server, "/empty-first-block");
    assert_eq!((replaced.status(), replaced.text()), (503, "replaced"));
    // After an exception too: the client gets a complete response from the server.
    let failed = get_and_go_on(&server, "/twice");
    assert_eq!(failed.status(), 500);
    server.stop();
}

/// R3: "A second call without `exc_info` is an error."
#[test]
fn r3_a_second_call_needs_exc_info() {
    let site = Site::new().with_cases(["twice", "twice-exc-info", "counter"]);
    let server = Server::new(&site);
    assert_eq!(get_and_go_on(&server, "/twice").status(), 500);
    let told = get_and_go_on(&server, "/twice?tell");
    assert_eq!(told.status(), 200, "a refused call changes nothing");
    assert!(told.text().contains("called"), "{}", told.text());

    let replaced = get_and_go_on(&server, "/twice-exc-info");
    assert_eq!((replaced.status(), replaced.text()), (503, "replaced"));
    assert_eq!(replaced.head.all("X-Head"), ["second"]);
    server
        .error_log()
        .expect(&["twice-exc-info: ", "it did not work out"]);

    let mut client = server.connect();
    client.request("GET", "/twice-exc-info?late");
    let cut = client.cut_response();
    assert_eq!(cut.head.map(|head| head.status), Some(200));
    assert_eq!((&*cut.body, cut.ending), (&b"sent"[..], Ending::Reset));
    server
        .error_log()
        .expect(&["ERROR", "twice-exc-info: raised FirstAttempt"]);
    server.stop();
}

/// R4: "Blocks passed to `write` precede those that are returned."
#[test]
fn r4_written_blocks_go_before_returned_ones() {
    let site = Site::new().with_cases(["write-then-yield", "counter"]);
    let server = Server::new(&site);
    let response = get_and_go_on(&server, "/write-then-yield");
    assert_eq!(response.text(), "one two three");
    assert_eq!(response.framing, Framing::Chunked);
    server.stop();
}

/// R5: "The server adds `Date`, `Server` and the message framing."
#[test]
fn r5_the_server_adds_date_server_and_framing() {
    let site = Site::new().with_cases(["counter", "late-start"]);
    let server = Server::new(&site);
    for target in ["/counter", "/late-start", "/missing"] {
        let response = server.get(target);
        let date = response.field("Date").expect("a date");
        assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
        let software = response.field("Server").expect("a name");
        assert!(software.starts_with("wasgi/"), "{software}");
        assert_ne!(response.framing, Framing::Close, "{target}");
    }
    server.stop();
}

/// R6: "may happen while the handler produces the first block"
#[test]
fn r6_start_response_may_be_called_with_the_first_block() {
    let site = Site::new().with_cases(["late-start", "no-start", "counter"]);
    let server = Server::new(&site);
    let response = get_and_go_on(&server, "/late-start");
    assert_eq!(response.status(), 201);
    assert_eq!(response.text(), "block 1\nblock 2\nblock 3\n");
    // But no later.
    for target in ["/no-start", "/no-start?blocks", "/no-start?empty"] {
        assert_eq!(get_and_go_on(&server, target).status(), 500, "{target}");
    }
    let ended = server.stop();
    let told = ended.stderr_with(&["ERROR", "no-start: returned a body without calling"]);
    assert_eq!(told, 3, "{}", ended.everything());
}
