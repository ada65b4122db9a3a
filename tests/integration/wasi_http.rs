//! Components of the world `wasi:http/proxy`, written with a third-party SDK (wstd), in the folder
//! of handlers.

use crate::support::body::{MIB, noise};
use crate::support::client::{Client, Ending};
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;

fn site() -> Site {
    Site::new().with_cases(["wasi-http", "wasi-http-silent", "counter"])
}

#[test]
fn a_component_answers() {
    let site = site();
    let server = Server::new(&site);
    let table = server.access_log();
    table.expect(&["/wasi-http ", ".wasm", "  wasi:http"]);

    let mut client = server.connect();
    let hello = client.get("/wasi-http");
    assert_eq!(
        (hello.status(), hello.text()),
        (200, "Hello from wasi:http\n")
    );
    assert_eq!(hello.field("Content-Type"), Some("text/plain"));
    // A body that is complete when its head is sent has a length (B4). If the guest is interrupted
    // between writing and ending the body, it is sent in two pieces, so not every response has one.
    eventually("its length is known", || {
        client.get("/wasi-http").field("Content-Length") == Some("21")
    });
    let cookies = client.get("/wasi-http/cookies");
    assert_eq!(cookies.head.all("Set-Cookie"), ["a=1", "b=2"]);
    for status in [200, 204, 304, 404, 503] {
        let response = client.get(&format!("/wasi-http/status?{status}"));
        assert_eq!((response.status(), response.text()), (status, ""));
        let shown = status.to_string();
        assert_eq!(response.field("X-Status"), Some(&*shown));
    }
    // The body has the declared length, or the response fails.
    assert_eq!(client.get("/wasi-http/length?5").text(), "12345");
    for target in ["/wasi-http", "/wasi-http/length?5", "/wasi-http/stream?3"] {
        client.request("HEAD", target);
        let head = client.response_to("HEAD");
        assert_eq!((head.status(), head.text()), (200, ""), "{target}");
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

#[test]
fn an_answer_without_a_body_may_tell_the_length_of_one() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("HEAD", "/wasi-http/announced");
    let head = client.response_to("HEAD");
    assert_eq!((head.status(), head.text()), (200, ""));
    assert_eq!(head.field("Content-Length"), Some("5"));
    for status in [204, 304] {
        for method in ["GET", "HEAD"] {
            client.request(method, &format!("/wasi-http/announced?{status}"));
            let response = client.response_to(method);
            assert_eq!((response.status(), response.text()), (status, ""));
        }
    }
    // A response with a body must have the declared length.
    client.request("GET", "/wasi-http/announced");
    match client.try_response_to("GET") {
        Ok(response) => assert_eq!(response.status(), 500),
        Err(cut) => assert_eq!(cut.ending, Ending::Reset),
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 1, "{}", ended.everything());
}

#[test]
fn it_sees_its_request_and_nothing_else() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send(
        "PUT /wasi-http/a%2Fb/seen?q=1&r HTTP/1.1\r\nHost: a.example:81\r\nX-Thing: one\r\n\
         X-Thing: two\r\nContent-Length: 4\r\n\r\nbody",
    );
    let response = client.response();
    let text = response.text();
    for line in [
        "PUT http://a.example:81/wasi-http/a%2Fb/seen?q=1&r",
        "x-thing: one",
        "x-thing: two",
        "content-length: 4",
        "0 variables",
        "0 arguments",
        "file: false",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    // Neither connection-specific fields nor an invented Host are passed.
    assert!(!text.contains("connection:"), "{text}");
    client.send("GET /wasi-http/seen HTTP/1.0\r\n\r\n");
    let response = client.response();
    let first = response.text().lines().next().expect("a line");
    assert_eq!(
        first,
        format!("GET http://{}/wasi-http/seen", server.addr())
    );
    server.stop();
}

#[test]
fn it_has_no_network() {
    let site = site();
    let server = Server::new(&site);
    // The server itself would respond.
    let target = format!("/wasi-http/outgoing?http://{}/counter", server.addr());
    let response = server.get(&target);
    assert!(
        response.text().starts_with("denied: "),
        "{}",
        response.text()
    );
    assert!(
        response.text().contains("HttpRequestDenied"),
        "{}",
        response.text()
    );
    server
        .error_log()
        .expect(&["WARN wasi-http: asked for http://", "which is not granted"]);
    server.stop();
}

#[test]
fn a_body_comes_back_as_it_was() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    for length in [0, 1, 200_000, 3 * MIB] {
        let body = noise(length);
        let response = client.post("/wasi-http/echo", &body);
        assert_eq!(response.status(), 200);
        assert!(response.body == body, "the body of {length} bytes differs");
    }
    let counted = client.post("/wasi-http/count", &noise(200_000));
    assert_eq!(counted.text(), "200000 bytes");
    server.stop();
}

#[test]
fn a_body_streams_both_ways() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("POST /wasi-http/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    // The head is sent before the body is complete.
    assert_eq!(client.head().status, 200);
    client.expect_blocks_back(true);

    client.request("GET", "/wasi-http/stream?4");
    assert_eq!(client.head().status, 200);
    for number in 1..=4 {
        assert_eq!(client.chunk(), format!("block {number}\n").as_bytes());
    }
    assert_eq!(client.chunk(), b"");
    server.stop();
}

#[test]
fn a_connection_persists_if_the_handler_is_interrupted_before_it_reads_the_body() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send(
        "POST /wasi-http/late-count HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let head = client.head();
    assert_eq!((head.status, head.field("Connection")), (200, None));
    client.send("4\r\nbody\r\n0\r\n\r\n");
    assert_eq!(client.chunk(), b"4 bytes");
    assert_eq!(client.chunk(), b"");
    assert_eq!(client.get("/wasi-http").status(), 200);
    server.stop();
}

#[test]
fn a_client_that_takes_nothing_fills_no_memory() {
    let site = site();
    let server = Server::new(&site);
    let mut client = server.connect();
    assert_eq!(client.post("/wasi-http/echo", b"once").body, b"once");
    let mark = server.mark_memory();
    client.begin_post("/wasi-http/echo", 64 * MIB);
    assert!(client.send_until_blocked(&noise(64 * MIB)) < 64 * MIB);
    server.expect_little_growth(mark);
    drop(client);
    drop(server);
}

#[test]
fn each_way_to_fail_has_its_status_and_its_line() {
    let site = site();
    let flags = [
        "--max-cpu-time",
        "0.3",
        "--max-memory",
        "16",
        "--max-response-head",
        "1",
    ];
    let server = Server::with(&site, &flags);
    for (target, status, why) in [
        ("/wasi-http/trap", 500, "wasi-http: trapped: "),
        ("/wasi-http/panic", 500, "wasi-http: trapped: "),
        ("/wasi-http/memory", 500, "wasi-http: ran out of memory"),
        ("/wasi-http/loop", 504, "wasi-http: computed for longer"),
        ("/wasi-http/fail", 500, "no response today"),
        ("/wasi-http/big-head?2000", 500, "--max-response-head"),
        ("/wasi-http-silent", 500, "without setting one"),
    ] {
        assert_eq!(server.get(target).status(), status, "{target}");
        server.error_log().expect(&["ERROR", why]);
        assert_eq!(server.get("/counter").text(), "1", "after {target}");
    }
    // When a body fails, wstd drops it unfinished and then panics: either may be logged.
    for target in ["/wasi-http/late-trap", "/wasi-http/late-fail"] {
        let mut client = server.connect();
        client.request("GET", target);
        let cut = client.cut_response();
        assert_eq!(cut.head.map(|head| head.status), Some(200), "{target}");
        assert_eq!(cut.body, b"onetwo", "{target}");
    }
    // The body never exceeds the declared length, and is never shorter (B3). The guest fails after
    // it has written too much, which may be before or after the head is sent.
    let response = server.connect().get("/wasi-http/length?3");
    let sent = (response.status(), response.text());
    assert!(sent.0 == 500 || sent == (200, "123"), "{sent:?}");
    let mut client = server.connect();
    client.request("GET", "/wasi-http/length?9");
    match client.try_response_to("GET") {
        Ok(response) => assert_eq!(response.status(), 500),
        // A part of the body had been sent.
        Err(cut) => assert_eq!(cut.ending, Ending::Reset),
    }
    let ended = server.stop();
    // One for each failure, including the two with wrong lengths.
    assert_eq!(ended.stderr_with(&["ERROR"]), 11, "{}", ended.everything());
}

#[test]
fn a_body_that_was_never_finished_ends_with_its_guest() {
    let site = site();
    let server = Server::new(&site);
    let response = server.get("/wasi-http-silent?late");
    assert_eq!((response.status(), response.text()), (200, "kept open"));
    server.stop();
}

#[test]
fn what_it_says_goes_to_the_log() {
    let site = site();
    let server = Server::new(&site);
    assert_eq!(server.get("/wasi-http/stderr").text(), "said");
    server
        .error_log()
        .expect(&["WARN", "wasi-http: a word to standard error"]);
    server
        .error_log()
        .expect(&["INFO", "wasi-http: a word to standard output"]);
    server.stop();
}

#[test]
fn a_client_that_leaves_ends_the_work_for_it() {
    let site = site();
    let server = Server::with(&site, &["--max-concurrent", "1"]);
    let mut client = server.connect();
    // The handler would run for half an hour.
    client.request("GET", "/wasi-http/stream?100000");
    assert_eq!(client.head().status, 200);
    client.chunk();
    assert_eq!(server.get("/wasi-http").status(), 503);
    drop(client);
    eventually("its place is free", || {
        server.get("/wasi-http").status() == 200
    });

    // The previous response may have been sent just before its permit was released; this request is
    // then rejected.
    let mut client = server.connect();
    eventually("it is at work", || {
        client = server.connect();
        client.send("POST /wasi-http/count HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
        server.get("/wasi-http").status() == 503
    });
    drop(client);
    eventually("its place is free", || {
        server.get("/wasi-http").status() == 200
    });
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

#[test]
fn many_run_beside_each_other() {
    let site = site();
    let server = Server::new(&site);
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.request("GET", "/wasi-http/stream?3");
    }
    assert_eq!(server.get("/wasi-http").status(), 200);
    for client in &mut clients {
        assert_eq!(client.response().text(), "block 1\nblock 2\nblock 3\n");
    }
    server.stop();
}
