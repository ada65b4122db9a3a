//! The rules of `docs/contract.md`, by their numbers, as far as they can be seen from outside.
//! Those about bodies on the wire (B1, I3, I4) are in `bodies`.

use crate::support::client::Ending;
use crate::support::guests;
use crate::support::response::{Framing, Response};
use crate::support::server::Server;
use crate::support::site::Site;

/// What `tests/guests/variables.rs` tells.
struct Variables(Vec<(String, String)>);

impl Variables {
    #[track_caller]
    fn of(response: &Response) -> Variables {
        assert_eq!(response.status(), 200);
        let lines = response.text().lines().map(|line| {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.to_owned())
        });
        Variables(lines.collect())
    }

    /// The value of a variable, which is there once at most.
    #[track_caller]
    fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(known, _)| known == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice");
        value
    }
}

/// The variables of a request, sent as these lines.
#[track_caller]
fn ask(server: &Server, lines: &[&str]) -> Variables {
    let mut client = server.connect();
    client.send(lines.join("\r\n") + "\r\n\r\n");
    Variables::of(&client.response())
}

/// Sends a GET on a connection of its own, and another one on it behind the answer: whatever was
/// wrong with the first must not be seen by the second.
#[track_caller]
fn get_and_go_on(server: &Server, target: &str) -> Response {
    let mut client = server.connect();
    let response = client.get(target);
    assert_eq!(client.get("/counter").text(), "1", "after {target}");
    response
}

#[test]
fn e1_what_is_always_there() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::of(&site);
    let port = server.addr().port().to_string();
    let variables = ask(
        &server,
        &["GET /variables/a%2Fb?c=%20 HTTP/1.1", "Host: test"],
    );
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", "/variables"),
        ("PATH_INFO", "/a/b"),
        ("QUERY_STRING", "c=%20"),
        ("REQUEST_URI", "/variables/a%2Fb?c=%20"),
        ("RAW_URI", "/variables/a%2Fb?c=%20"),
        ("SERVER_NAME", "test"),
        ("SERVER_PORT", &port),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "test"),
        ("wsgi.version", "1.0"),
        ("wsgi.url_scheme", "http"),
        ("wsgi.multithread", "false"),
        ("wsgi.multiprocess", "true"),
        ("wsgi.run_once", "true"),
        ("wsgi.input_terminated", "true"),
    ] {
        assert_eq!(variables.get(name), Some(value), "{name}");
    }
    let remote_port: Option<u16> = variables.get("REMOTE_PORT").and_then(|n| n.parse().ok());
    assert!(remote_port.is_some_and(|port| port > 0));
    server.stop();
}

#[test]
fn e1_what_is_there_when_the_request_has_it() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::of(&site);
    let bare = ask(&server, &["GET /variables HTTP/1.0"]);
    assert_eq!(bare.get("CONTENT_TYPE"), None);
    assert_eq!(bare.get("CONTENT_LENGTH"), None);
    assert_eq!(bare.get("QUERY_STRING"), Some(""));
    assert_eq!(bare.get("SERVER_PROTOCOL"), Some("HTTP/1.0"));
    assert_eq!(bare.get("SERVER_NAME"), Some("127.0.0.1"));
    assert_eq!(bare.get("HTTP_HOST"), None);

    let line = "POST /variables HTTP/1.1";
    let (host, content_type) = ("Host: a:80", "Content-Type: text/plain");
    let with_length = ask(&server, &[line, host, content_type, "Content-Length: 0"]);
    assert_eq!(with_length.get("CONTENT_LENGTH"), Some("0"));
    assert_eq!(with_length.get("CONTENT_TYPE"), Some("text/plain"));
    assert_eq!(with_length.get("SERVER_NAME"), Some("a"));

    let mut client = server.connect();
    client.send([line, host, "Transfer-Encoding: chunked", "", ""].join("\r\n"));
    client.send("0\r\n\r\n");
    let chunked = Variables::of(&client.response());
    assert_eq!(chunked.get("CONTENT_LENGTH"), None);
    assert_eq!(chunked.get("wsgi.input_terminated"), Some("true"));
    server.stop();
}

#[test]
fn e2_fields_are_variables() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::of(&site);
    let variables = ask(
        &server,
        &[
            "POST /variables HTTP/1.1",
            "Host: test",
            "Content-Type: text/plain",
            "Content-Length: 0",
            "x-lower-case: one",
            "Accept: a",
            "ACCEPT: b",
            "accept: c",
            "Cookie: a=1",
            "Cookie: b=2",
            "X-Forwarded-For: honest",
            "X_Forwarded_For: forged",
            "Content_Length: 7",
            "Proxy: http://evil",
            "X-Empty:",
        ],
    );
    for (name, value) in [
        ("HTTP_X_LOWER_CASE", Some("one")),
        ("HTTP_ACCEPT", Some("a,b,c")),
        ("HTTP_COOKIE", Some("a=1; b=2")),
        ("HTTP_X_FORWARDED_FOR", Some("honest")),
        ("HTTP_X_EMPTY", Some("")),
        ("HTTP_CONTENT_TYPE", None),
        ("HTTP_CONTENT_LENGTH", None),
        ("HTTP_PROXY", None),
    ] {
        assert_eq!(variables.get(name), value, "{name}");
    }
    assert_eq!(variables.get("CONTENT_LENGTH"), Some("0"));
    server.stop();
}

#[test]
fn e3_script_name_and_path_info_are_the_path() {
    let site = Site::new();
    for name in [
        "index.wasm",
        "variables.wasm",
        "deep/er.wasm",
        "users/[id].wasm",
        "files/[...rest].wasm",
    ] {
        site.install(name, &guests::case("variables"));
    }
    let server = Server::of(&site);
    for (target, script_name, path_info) in [
        ("/", "", "/"),
        ("/variables", "/variables", ""),
        ("/variables/", "/variables", "/"),
        ("/variables/a//b/", "/variables", "/a//b/"),
        ("/variables/a%2Fb%20c", "/variables", "/a/b c"),
        ("/variables/../deep/er/x", "/deep/er", "/x"),
        ("/%76ariables/%61", "/variables", "/a"),
        ("/users/7", "/users/7", ""),
        ("/users/a%2Fb/c", "/users/a/b", "/c"),
        ("/files/a/b", "/files", "/a/b"),
        ("/unknown/path", "", "/unknown/path"),
    ] {
        let variables = Variables::of(&server.get(target));
        assert_eq!(variables.get("SCRIPT_NAME"), Some(script_name), "{target}");
        assert_eq!(variables.get("PATH_INFO"), Some(path_info), "{target}");
        assert_eq!(variables.get("REQUEST_URI"), Some(target));
    }
    server.stop();
}

#[test]
fn e4_values_are_bytes() {
    let site = Site::new().with_cases(["variables"]);
    let server = Server::of(&site);
    let mut client = server.connect();
    client.send(b"GET /variables/%ff%e9\xc3\xa9?\xc3\xa9%ff HTTP/1.1\r\nHost: test\r\n");
    client.send(b"X-Bytes: caf\xe9 \xff\t.\r\n\r\n");
    let variables = Variables::of(&client.response());
    assert_eq!(variables.get("PATH_INFO"), Some("/\\xff\\xe9\\xc3\\xa9"));
    assert_eq!(variables.get("QUERY_STRING"), Some("\\xc3\\xa9%ff"));
    assert_eq!(variables.get("HTTP_X_BYTES"), Some("caf\\xe9 \\xff\\t."));
    server.stop();
}

#[test]
fn e5_what_a_route_binds() {
    let site = Site::new();
    for name in ["users/[id].wasm", "files/[user]/[...rest].wasm"] {
        site.install(name, &guests::case("variables"));
    }
    let server = Server::of(&site);
    let user = Variables::of(&server.get("/users/%22J%C3%BCrgen%22"));
    assert_eq!(user.get("wasgi.route.id"), Some("\\\"J\\xc3\\xbcrgen\\\""));
    let json = "[[], {\\\"id\\\": \\\"\\\\\\\"J\\xc3\\xbcrgen\\\\\\\"\\\"}]";
    assert_eq!(user.get("wsgiorg.routing_args"), Some(json));
    let file = Variables::of(&server.get("/files/7/a/b.txt"));
    assert_eq!(file.get("wasgi.route.user"), Some("7"));
    assert_eq!(file.get("wasgi.route.rest"), Some("a/b.txt"));
    for (name, _) in &file.0 {
        let is_ours = name.starts_with("wasgi.");
        assert!(!is_ours || *name == name.to_lowercase(), "{name}");
    }
    server.stop();
}

#[test]
fn i5_the_error_log_names_the_handler_on_each_line() {
    let site = Site::new().with_cases(["errors"]);
    let server = Server::of(&site);
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

#[test]
fn r1_repeated_fields_are_kept_in_order() {
    let site = Site::new().with_cases(["set-cookies"]);
    let server = Server::of(&site);
    let response = server.get("/set-cookies");
    assert_eq!(response.head.all("Set-Cookie"), ["a=1; Path=/", "b=2"]);
    server.stop();
}

#[test]
fn r1_what_may_not_be_sent_is_refused_at_the_call() {
    let site = Site::new().with_cases(["bad-header", "counter"]);
    let server = Server::of(&site);
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
        ("interim", "server's own"),
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

#[test]
fn r1_every_byte_that_may_be_sent_is_sent() {
    let site = Site::new().with_cases(["binary"]);
    let server = Server::of(&site);
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
    let line = [b"X-Bytes:".as_slice(), &field, b"\r\n"].concat();
    // The space in front of the value is the value's own first byte, or the field's.
    let text: Vec<u8> = bytes
        .windows(2)
        .filter(|pair| *pair != b"  ")
        .map(|pair| pair[0])
        .collect();
    let found = text.windows(line.len()).any(|window| window == line);
    assert!(found, "{}", bytes.escape_ascii());
    server.stop();
}

#[test]
fn r2_calling_start_response_sends_nothing() {
    let site = Site::new().with_cases(["empty-first-block", "twice", "counter"]);
    let server = Server::of(&site);
    // The head is still there to be replaced behind an empty block.
    let replaced = get_and_go_on(&server, "/empty-first-block");
    assert_eq!((replaced.status(), replaced.text()), (503, "replaced"));
    // And behind an exception: the client gets a whole answer of the server's.
    let failed = get_and_go_on(&server, "/twice");
    assert_eq!(failed.status(), 500);
    server.stop();
}

#[test]
fn r3_a_second_call_needs_exc_info() {
    let site = Site::new().with_cases(["twice", "twice-exc-info", "counter"]);
    let server = Server::of(&site);
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

#[test]
fn r4_written_blocks_go_before_returned_ones() {
    let site = Site::new().with_cases(["write-then-yield", "counter"]);
    let server = Server::of(&site);
    let response = get_and_go_on(&server, "/write-then-yield");
    assert_eq!(response.text(), "one two three");
    assert_eq!(response.framing, Framing::Chunked);
    server.stop();
}

#[test]
fn r5_the_server_adds_date_server_and_framing() {
    let site = Site::new().with_cases(["counter", "late-start"]);
    let server = Server::of(&site);
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

#[test]
fn r6_start_response_may_be_called_with_the_first_block() {
    let site = Site::new().with_cases(["late-start", "no-start", "counter"]);
    let server = Server::of(&site);
    let response = get_and_go_on(&server, "/late-start");
    assert_eq!(response.status(), 201);
    assert_eq!(response.text(), "block 1\nblock 2\nblock 3\n");
    // But not later.
    for target in ["/no-start", "/no-start?blocks", "/no-start?empty"] {
        assert_eq!(get_and_go_on(&server, target).status(), 500, "{target}");
    }
    let ended = server.stop();
    let told = ended.stderr_with(&["ERROR", "no-start: returned a body without calling"]);
    assert_eq!(told, 3, "{}", ended.everything());
}

#[test]
fn b2_close_is_called_once_whatever_the_end() {
    let site = Site::new().with_cases(["close-log", "counter"]);
    let server = Server::of(&site);
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

    // What close raises is the log's affair: the body is out.
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

#[test]
fn b3_never_more_than_the_content_length() {
    let site = Site::new().with_cases(["long-body", "counter"]);
    let server = Server::of(&site);
    for target in ["/long-body", "/long-body?blocks"] {
        let response = get_and_go_on(&server, target);
        assert_eq!(response.framing, Framing::Length(5), "{target}");
        assert_eq!(response.text(), "12345", "{target}");
    }
    let ended = server.stop();
    let told = ended.stderr_with(&["long-body: the body is longer"]);
    assert_eq!(told, 2, "{}", ended.everything());
}

#[test]
fn b3_less_than_the_content_length_cuts_the_connection() {
    let site = Site::new().with_cases(["short-body"]);
    let server = Server::of(&site);
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
    // Nothing of the body is sent to HEAD, so nothing is missing.
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

#[test]
fn b4_a_single_block_has_a_length_and_several_come_in_chunks() {
    let site = Site::new().with_cases(["counter", "late-start"]);
    let server = Server::of(&site);
    assert_eq!(server.get("/counter").framing, Framing::Length(1));
    assert_eq!(server.get("/late-start").framing, Framing::Chunked);
    server.stop();
}

#[test]
fn b5_some_responses_have_no_body() {
    let site = Site::new().with_cases(["head-204", "counter", "close-log"]);
    let server = Server::of(&site);
    for (status, code) in [("204%20No%20Content", 204), ("304%20Not%20Modified", 304)] {
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

#[test]
fn what_is_done_when_the_response_is_over_reaches_nobody_and_waits_for_nothing() {
    let site = Site::new().with_cases(["late"]);
    let server = Server::with(&site, &["--max-wall-time", "86400"]);
    // The body is outstanding, and never comes.
    let mut client = server.connect();
    client.send("POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.response().text(), "over");
    server.error_log().expect(&["late: read: Ok(None)"]);

    assert_eq!(server.get("/late?write").text(), "over");
    server.error_log().expect(&["late: wrote: Err("]);
    server.stop();
}
