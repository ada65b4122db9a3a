//! How a response continues and ends: rules B1 to B6.

use super::get_and_go_on;
use crate::support::client::Ending;
use crate::support::response::Framing;
use crate::support::server::Server;
use crate::support::site::Site;

/// B1: "it sends a block to the client before it requests the next"
#[test]
fn b1_a_block_has_left_before_the_next_one_is_made() {
    let site = Site::new().with_demos(["echo"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect_blocks_back(false);
    server.stop();
}

/// B1: "The server delays no block"
#[test]
fn b1_blocks_leave_one_by_one_while_the_handler_sleeps() {
    let site = Site::new().with_demos(["stream"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", "/stream?n=5&ms=50");
    assert_eq!(client.head().status, 200);
    for number in 1..=5 {
        assert_eq!(client.chunk(), format!("block {number} of 5\n").as_bytes());
    }
    assert_eq!(client.chunk(), b"");
    server.stop();
}

/// B2: "or when the client disconnects"
#[test]
fn b2_a_handler_is_told_that_its_client_has_gone() {
    let site = Site::new().with_cases(["close-log"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    // The handler would run for a minute.
    client.request("GET", "/close-log?n=6000&ms=10");
    assert_eq!(client.head().status, 200);
    client.chunk();
    drop(client);
    server.error_log().expect(&["close-log: closed"]);
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

/// B2: "The server calls `close` when the body ends or fails"
#[test]
fn b2_close_is_called_once_whatever_the_end() {
    let site = Site::new().with_cases(["close-log", "counter"]);
    let server = Server::new(&site);
    let whole = get_and_go_on(&server, "/close-log");
    assert_eq!(whole.body.len(), 3 * 4096);
    let without_blocks = get_and_go_on(&server, "/close-log?n=0");
    assert_eq!((without_blocks.status(), without_blocks.text()), (200, ""));
    let head = {
        let mut client = server.connect();
        client.request("HEAD", "/close-log");
        client.response_to("HEAD")
    };
    assert_eq!(head.status(), 200);

    let mut client = server.connect();
    client.request("GET", "/close-log?break");
    let cut = client.cut_response();
    assert_eq!((cut.body.len(), cut.ending), (4096, Ending::Reset));

    // An exception from `close` is only logged: the body has been sent.
    let raised = get_and_go_on(&server, "/close-log?raise");
    assert_eq!(raised.body.len(), 3 * 4096);
    server
        .error_log()
        .expect(&["close-log: raised", "closing broke"]);
    let ended = server.stop();
    let closed = ended.stderr_with(&["close-log: closed"]);
    assert_eq!(closed, 5, "{}", ended.everything());
    assert_eq!(ended.stderr_with(&["ERROR"]), 2, "{}", ended.everything());
}

/// B3: "The server never sends more bytes than the Content-Length"
#[test]
fn b3_never_more_than_the_content_length() {
    let site = Site::new().with_cases(["long-body", "counter"]);
    let server = Server::new(&site);
    for target in ["/long-body", "/long-body?blocks", "/long-body?endless"] {
        let response = get_and_go_on(&server, target);
        assert_eq!(response.framing, Framing::Length(5), "{target}");
        let text = if target.ends_with("endless") {
            "12312"
        } else {
            "12345"
        };
        assert_eq!(response.text(), text, "{target}");
    }
    let ended = server.stop();
    let told = ended.stderr_with(&["long-body: the body is longer"]);
    assert_eq!(told, 3, "{}", ended.everything());
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

/// B3: "If the body is shorter, the server cuts the connection"
#[test]
fn b3_less_than_the_content_length_cuts_the_connection() {
    let site = Site::new().with_cases(["short-body"]);
    let server = Server::new(&site);
    for target in ["/short-body", "/short-body?blocks"] {
        let mut client = server.connect();
        client.request("GET", target);
        let cut = client.cut_response();
        let head = cut.head.expect("a head");
        assert_eq!(head.field("Content-Length"), Some("10"), "{target}");
        assert_eq!(
            (&*cut.body, cut.ending),
            (&b"12345"[..], Ending::Reset),
            "{target}"
        );
    }
    // A response to HEAD has no body, so none is missing.
    let mut client = server.connect();
    client.request("HEAD", "/short-body");
    assert_eq!(
        client.response_to("HEAD").field("Content-Length"),
        Some("10")
    );
    client.request("HEAD", "/short-body?blocks");
    assert_eq!(client.response_to("HEAD").status(), 200);
    let ended = server.stop();
    let told = ended.stderr_with(&["ERROR", "short-body: the body is shorter"]);
    assert_eq!(told, 2, "{}", ended.everything());
}

/// B4: "A single block gets a Content-Length."
#[test]
fn b4_a_single_block_has_a_length_and_several_come_in_chunks() {
    let site = Site::new().with_cases(["counter", "late-start"]);
    let server = Server::new(&site);
    assert_eq!(server.get("/counter").framing, Framing::Length(1));
    assert_eq!(server.get("/late-start").framing, Framing::Chunked);
    server.stop();
}

/// B5: "Responses to HEAD and those with status 1xx, 204, 205 or 304 have no body."
#[test]
fn b5_some_responses_have_no_body() {
    let site = Site::new().with_cases(["head-204", "counter", "close-log"]);
    let server = Server::new(&site);
    for (status, code) in [
        ("204%20No%20Content", 204),
        ("205%20Reset%20Content", 205),
        ("304%20Not%20Modified", 304),
    ] {
        let response = get_and_go_on(&server, &format!("/head-204?status={status}"));
        assert_eq!((response.status(), response.text()), (code, ""));
        assert_eq!(response.field("Transfer-Encoding"), None);
    }
    let mut client = server.connect();
    for target in ["/counter", "/close-log?n=50"] {
        client.request("HEAD", target);
        assert_eq!(client.response_to("HEAD").status(), 200);
        assert_eq!(client.get("/counter").text(), "1", "after {target}");
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
    assert_eq!(ended.stderr_with(&["longer"]), 0, "{}", ended.everything());
}

/// B5: "Such a response is complete with its head"
#[test]
fn b5_an_answer_without_a_body_is_whole_with_its_head_whatever_follows() {
    let cases = [
        "exception-mid-stream",
        "loop",
        "write-then-yield",
        "cgi-fail",
        "counter",
        "close-log",
    ];
    let site = Site::new().with_cases(cases);
    let server = Server::with(&site, &["--max-cpu-time", "0.2"]);
    let mut client = server.connect();
    for target in [
        "/exception-mid-stream",
        "/loop?late",
        "/write-then-yield",
        "/cgi-fail/late?trap",
        "/cgi-fail/late?exit",
        "/cgi-fail/late?loop",
        // This handler would take far too long to wait for.
        "/close-log?n=4000000000&rest=1000",
    ] {
        client.request("HEAD", target);
        assert_eq!(client.response_to("HEAD").status(), 200, "{target}");
        assert_eq!(client.get("/counter").text(), "1", "after {target}");
    }
    server.error_log().expect(&["close-log: closed"]);
    server.error_log().expect(&["cgi-fail: trapped"]);
    server.error_log().expect(&["cgi-fail: exited with status"]);
    server
        .error_log()
        .expect(&["cgi-fail: computed for longer"]);
    server.error_log().expect(&["loop: computed for longer"]);
    server.stop();
}

/// B5: "Responses to HEAD and those with status 1xx, 204, 205 or 304 have no body."
#[test]
fn b5_an_answer_without_a_body_may_tell_the_length_of_one() {
    let site = Site::new().with_cases(["cgi-raw", "short-body", "counter"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    let cgi = |status| {
        let head = format!("Status:%20{status}%0aContent-Type:%20a/b%0aContent-Length:%205%0a%0a");
        format!("/cgi-raw?output={head}")
    };
    // In a response to HEAD, it is the length that GET would have (RFC 9110 section 8.6).
    for target in ["/short-body", &cgi(200)] {
        client.request("HEAD", target);
        let response = client.response_to("HEAD");
        assert_eq!(response.status(), 200);
        assert!(response.field("Content-Length").is_some(), "{target}");
        assert_eq!(client.get("/counter").text(), "1", "after {target}");
    }
    for status in [204, 304] {
        for method in ["GET", "HEAD"] {
            client.request(method, &cgi(status));
            assert_eq!(client.response_to(method).status(), status);
            assert_eq!(client.get("/counter").text(), "1", "after {status}");
        }
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

#[test]
fn what_is_done_when_the_response_is_over_reaches_nobody_and_waits_for_nothing() {
    let site = Site::new().with_cases(["late"]);
    let server = Server::with(&site, &["--max-wall-time", "86400"]);
    // The body is never sent.
    let mut client = server.connect();
    client.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.response().text(), "over");
    server.error_log().expect(&["late: read: Ok(None)"]);

    assert_eq!(server.get("/late?write").text(), "over");
    server.error_log().expect(&["late: wrote: Err("]);
    server.stop();
}

/// B4: "ended by closing the connection for HTTP/1.0"
#[test]
fn b4_the_end_of_the_connection_ends_blocks_for_http_1_0() {
    let site = Site::new().with_cases(["late-start", "counter"]);
    let server = Server::new(&site);
    for (target, framing, text) in [
        ("/counter", Framing::Length(1), "1"),
        ("/late-start", Framing::Close, "block 1\nblock 2\nblock 3\n"),
    ] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let response = client.response();
        assert_eq!((response.framing, response.text()), (framing, text));
        assert_eq!(client.ending(), Ending::Closed, "{target}");
    }
    server.stop();
}

/// B6: "Not implemented"
#[test]
fn b6_no_file_wrapper_is_offered() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::new(&site);
    let variables = server.get("/variables");
    assert!(variables.text().contains("wsgi.version=1.0\n"));
    assert!(!variables.text().contains("file_wrapper"));
    server.stop();
}
