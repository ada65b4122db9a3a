//! The dashboard of `wasgi dev`: the record of requests, replays, and what it says of handlers.

use serde_json::Value;

use crate::dev::{dev, document, get, program, text};
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::response::Response;
use crate::support::server::Server;
use crate::support::site::Site;

/// The maximum length of a recorded body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A CGI program that writes a line to its log, and responds with the request's body.
const ECHO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 4)
    (data (i32.const 1024) "Content-Type: text/plain\n\n")
    (data (i32.const 2048) "<b>a line</b>\nno end")
    (func $put (param $file i32) (param $at i32) (param $length i32)
        (i32.store (i32.const 0) (local.get $at))
        (i32.store (i32.const 4) (local.get $length))
        (drop (call $write (local.get $file) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func (export "_start")
        (call $put (i32.const 2) (i32.const 2048) (i32.const 20))
        (call $put (i32.const 1) (i32.const 1024) (i32.const 26))
        (loop $next
            (i32.store (i32.const 0) (i32.const 4096))
            (i32.store (i32.const 4) (i32.const 65536))
            (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8)) (then
                (call $put (i32.const 1) (i32.const 4096) (i32.load (i32.const 8)))
                (br $next))))))"#;

/// A CGI program whose response has no end.
const ENDLESS: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 4)
    (data (i32.const 1024) "Content-Type: text/plain\n\n")
    (func (export "_start")
        (i32.store (i32.const 0) (i32.const 1024))
        (i32.store (i32.const 4) (i32.const 26))
        (loop $next
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
            (br $next))))"#;

fn plain(body: &str) -> String {
    program(&["Content-Type: text/plain\n\n", body], false)
}

fn json(response: &Response) -> Value {
    assert_eq!(response.field("Content-Type"), Some("application/json"));
    serde_json::from_slice(&response.body).expect("JSON")
}

fn state(server: &Server) -> Value {
    json(&get(server, "GET", "/_wasgi/state", ""))
}

fn detail(server: &Server, number: u64) -> Value {
    json(&get(
        server,
        "GET",
        &format!("/_wasgi/requests/{number}"),
        "",
    ))
}

fn post(server: &Server, target: &str, fields: &str, body: &[u8]) -> Response {
    let mut client = server.connect();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: {}\r\n{fields}Content-Length: {}\r\n\r\n",
        server.addr(),
        body.len()
    );
    client.send([head.as_bytes(), body].concat());
    client.response()
}

/// Asks for a replay, as the dashboard's page does.
fn ask_replay(server: &Server, number: u64) -> Response {
    let own = format!("Origin: http://{}\r\n", server.addr());
    let target = format!("/_wasgi/requests/{number}/replay");
    post(server, &target, &own, b"")
}

/// Replays a request. Returns the record of the replay.
fn replay(server: &Server, number: u64) -> Value {
    let answer = json(&ask_replay(server, number));
    detail(server, answer["number"].as_u64().expect("a number"))
}

/// Returns what the dashboard says of a handler.
fn handler(server: &Server, name: &str) -> Value {
    let state = state(server);
    let handlers = state["site"]["handlers"].as_array().expect("a list");
    let found = handlers.iter().find(|one| one["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Waits until a request is recorded. Returns it.
fn recorded(server: &Server, number: u64) -> Value {
    let mut found = Value::Null;
    eventually("the request is recorded", || {
        let target = format!("/_wasgi/requests/{number}");
        let answer = get(server, "GET", &target, "");
        found = json(&answer);
        answer.status() == 200
    });
    found
}

#[test]
fn the_page_consists_of_its_own_files_under_a_strict_policy() {
    let server = dev(&Site::new());
    let page = get(&server, "GET", "/_wasgi/", "Sec-Fetch-Dest: document\r\n");
    assert_eq!(page.status(), 200);
    let policy = page.field("Content-Security-Policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
    assert!(!policy.contains("unsafe") && !policy.contains("http"));
    for (path, kind) in [
        ("/_wasgi/dashboard.js", "text/javascript; charset=utf-8"),
        ("/_wasgi/dashboard.css", "text/css; charset=utf-8"),
        ("/_wasgi/dev.js", "text/javascript; charset=utf-8"),
    ] {
        assert!(text(&page).contains(&format!("\"{path}\"")), "{path}");
        let file = get(&server, "GET", path, "");
        assert_eq!(file.field("Content-Type"), Some(kind));
        assert_eq!(get(&server, "HEAD", path, "").status(), 200);
    }
    let short = get(&server, "GET", "/_wasgi", "");
    assert_eq!(short.field("Location"), Some("/_wasgi/"));
    server.stop();
}

#[test]
fn a_request_is_recorded_with_its_response_and_log() {
    let site = Site::new();
    site.write_handler("echo.wat", ECHO);
    let server = dev(&site);
    let fields = "Authorization: Bearer abc\r\n";
    let response = post(&server, "/echo/more?q=1", fields, b"a <b>body</b>");
    assert_eq!(text(&response), "a <b>body</b>");
    let request = recorded(&server, 1);
    assert_eq!(request["method"], "POST");
    assert_eq!(request["target"], "/echo/more?q=1");
    assert_eq!(request["status"], 200);
    assert_eq!(request["handler"], "echo");
    assert_eq!(request["version"].as_str().map(str::len), Some(12));
    assert_eq!(request["body"]["text"], "a <b>body</b>");
    assert_eq!(request["response"]["body"]["text"], "a <b>body</b>");
    assert_eq!(request["response"]["status"], 200);
    let has = |whose: &Value, name: &str, value: &str| {
        let wanted = serde_json::json!([name, value]);
        whose.as_array().expect("fields").contains(&wanted)
    };
    assert!(has(&request["head"], "Authorization", "Bearer abc"));
    assert!(has(
        &request["response"]["head"],
        "Content-Type",
        "text/plain"
    ));
    assert_eq!(request["refusal"], Value::Null);
    // The last line has no end, so it follows when the program has ended.
    eventually("both lines are recorded", || {
        let log = &detail(&server, 1)["log"];
        log[0]["line"] == "<b>a line</b>" && log[1]["line"] == "no end"
    });
    let state = state(&server);
    assert_eq!(state["requests"][0]["number"], 1);
    assert_eq!(state["ended"], 1);
    assert_eq!(state["rates"]["total"], 1);
    let later = json(&get(&server, "GET", "/_wasgi/state?since=1", ""));
    assert_eq!(later["requests"], serde_json::json!([]));
    assert_eq!(later["kept"], serde_json::json!([1]));
    server.stop();
}

#[test]
fn concurrent_requests_have_their_own_lines() {
    let site = Site::new();
    site.write_handler("echo.wat", ECHO);
    let server = dev(&site);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.begin_post("/echo", 1);
        // The handler has begun when its head arrives.
        client.send("x");
    }
    for client in &mut clients {
        client.response();
    }
    for number in 1..=4 {
        recorded(&server, number);
        eventually("each request has its two lines", || {
            let log = &detail(&server, number)["log"];
            log.as_array().is_some_and(|lines| lines.len() == 2)
        });
    }
    server.stop();
}

#[test]
fn a_page_is_recorded_without_the_script() {
    let page = "<!doctype html><title>a</title><p>text";
    let site = Site::new().with_page("a.html", page);
    let server = dev(&site);
    let response = document(&server, "/a.html");
    assert!(text(&response).contains("/_wasgi/dev.js"));
    let request = recorded(&server, 1);
    assert_eq!(request["response"]["body"]["text"], page);
    assert_eq!(request["handler"], Value::Null);
    let again = replay(&server, 1);
    assert_eq!(again["response"], with_time(&request, &again));
    server.stop();
}

/// Returns the response of a request, with the time of another one.
fn with_time(request: &Value, other: &Value) -> Value {
    let mut response = request["response"].clone();
    response["afterMs"] = other["response"]["afterMs"].clone();
    response
}

#[test]
fn a_replay_is_answered_by_the_current_version_and_marked_in_the_log() {
    let site = Site::new();
    site.write_handler("echo.wat", ECHO);
    let server = dev(&site);
    post(&server, "/echo?a=b", "X: y\r\n", b"the body");
    let first = recorded(&server, 1);
    let same = replay(&server, 1);
    assert_eq!(same["replayOf"], 1);
    assert_eq!(same["response"], with_time(&first, &same));
    assert_eq!(
        (&same["head"], &same["body"]),
        (&first["head"], &first["body"])
    );
    server
        .access_log()
        .expect(&["POST /echo?a=b", " echo (replay)"]);
    site.replace_handler("echo.wat", plain("another version"));
    eventually("the next version is served", || {
        text(&server.get("/echo")).contains("another version")
    });
    let now = replay(&server, 1);
    assert_eq!(now["response"]["body"]["text"], "another version");
    assert_ne!(now["version"], first["version"]);
    // A replay can be replayed.
    let number = now["number"].as_u64().expect("a number");
    assert_eq!(replay(&server, number)["replayOf"], number);
    server.stop();
}

#[test]
fn what_can_not_be_replayed_says_why() {
    let site = Site::new();
    site.write_handler("echo.wat", ECHO);
    let server = dev(&site);
    let long = vec![b'x'; 3 * MAX_BODY_BYTES];
    assert_eq!(post(&server, "/echo", "", &long).body, long);
    let request = recorded(&server, 1);
    for body in [&request["body"], &request["response"]["body"]] {
        assert_eq!(body["length"], long.len());
        assert_eq!(body["cut"], true);
        assert_eq!(body["text"].as_str().map(str::len), Some(MAX_BODY_BYTES));
    }
    let refused = ask_replay(&server, 1);
    assert_eq!(refused.status(), 409);
    assert_eq!(json(&refused)["error"], request["refusal"]);
    let mut client = server.connect();
    client.begin_post("/echo", 10);
    client.send("half");
    client.head();
    drop(client);
    let request = recorded(&server, 2);
    let why = request["refusal"].as_str().expect("a reason");
    assert!(why.contains("not received completely"), "{why}");
    assert_eq!(ask_replay(&server, 2).status(), 409);
    assert_eq!(ask_replay(&server, 77).status(), 404);
    server.stop();
}

#[test]
fn a_page_elsewhere_reads_nothing_and_replays_nothing() {
    let site = Site::new();
    site.write_handler("a.wat", plain("a"));
    let server = dev(&site);
    server.get("/a");
    recorded(&server, 1);
    let (addr, target) = (server.addr(), "/_wasgi/requests/1/replay");
    assert_eq!(post(&server, target, "", b"").status(), 403);
    let other = "Origin: http://evil.example\r\n";
    assert_eq!(post(&server, target, other, b"").status(), 403);
    for path in ["/_wasgi/", "/_wasgi/state", "/_wasgi/requests/1"] {
        assert_eq!(get(&server, "GET", path, other).status(), 403, "{path}");
        let mut client = server.connect();
        let port = addr.port();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"
        ));
        assert_eq!(client.response().status(), 403, "{path}");
    }
    assert_eq!(get(&server, "GET", target, "").status(), 405);
    assert_eq!(state(&server)["ended"], 1);
    server.stop();
}

#[test]
fn a_failed_request_is_recorded_with_its_reason_and_so_is_its_replay() {
    let site = Site::new();
    site.write_handler("trap.wat", program(&[], true));
    let server = dev(&site);
    assert_eq!(document(&server, "/trap").status(), 500);
    let request = recorded(&server, 1);
    for request in [&request, &replay(&server, 1)] {
        assert_eq!(request["status"], 500);
        assert_eq!(request["failed"], true);
        assert_eq!(request["failure"]["title"], "trapped");
        let body = request["response"]["body"]["text"].as_str();
        assert!(body.is_some_and(|body| body.contains("The handler failed")));
    }
    let short = program(
        &["Content-Type: text/plain\nContent-Length: 9\n\n", "a"],
        false,
    );
    site.write_handler("short.wat", short);
    eventually("it is served", || {
        handler(&server, "short")["state"] == "served"
    });
    let mut client = server.connect();
    client.request("GET", "/short");
    client.cut_response();
    let request = recorded(&server, 3);
    for request in [&request, &replay(&server, 3)] {
        assert_eq!(request["failure"]["title"], "violated the contract");
    }
    server.stop();
}

#[test]
fn a_replay_ends_with_the_client_that_asked_for_it() {
    let site = Site::new();
    site.write_handler("endless.wat", ENDLESS);
    let toml = "[budget]\ncpu-time = \"1h\"\n";
    std::fs::write(site.path().join("wasgi.toml"), toml).expect("written");
    let server = dev(&site);
    let mut client = server.connect();
    client.request("GET", "/endless");
    client.take_something();
    client.reset_when_dropped();
    drop(client);
    let request = recorded(&server, 1);
    assert_eq!(request["cut"], "the client broke the connection");
    let mut client = server.connect();
    client.send(format!(
        "POST /_wasgi/requests/1/replay HTTP/1.1\r\nHost: {addr}\r\nOrigin: http://{addr}\r\n\
         Content-Length: 0\r\n\r\n",
        addr = server.addr()
    ));
    eventually("the replay runs", || {
        handler(&server, "endless")["in-flight"] == 1
    });
    client.reset_when_dropped();
    drop(client);
    recorded(&server, 2);
    eventually("the handler has ended", || {
        handler(&server, "endless")["in-flight"] == 0
    });
    server.stop();
}

#[test]
fn the_state_tells_of_handlers_their_grants_and_the_steps_of_their_loads() {
    let site = Site::new();
    site.write_handler("a.wat", plain("a"));
    let toml = "[handlers.a]\nenvironment = { NAME = \"not for eyes\" }\n";
    std::fs::write(site.path().join("wasgi.toml"), toml).expect("written");
    site.write_handler("b.wat", "(nonsense");
    let server = dev(&site);
    let state = state(&server);
    let handler = &state["site"]["handlers"][0];
    assert_eq!(handler["route"], "/a");
    assert_eq!(
        handler["grants"]["environment"],
        serde_json::json!(["NAME"])
    );
    assert!(handler["file-bytes"].is_u64() && handler["kind"].is_string());
    assert!(!state.to_string().contains("not for eyes"));
    assert!(state["steps"]["a.wat"]["made"].is_f64(), "{state:#}");
    assert_eq!(state["running"], serde_json::json!([]));
    assert_eq!(state["failures"][0]["handler"], "b");
    server.stop();
}

#[test]
fn own_endpoints_are_neither_recorded_nor_logged() {
    let site = Site::new().with_page("a.html", "a");
    let server = dev(&site);
    for path in ["/_wasgi/", "/_wasgi/state", "/_wasgi/dev.js"] {
        assert_eq!(get(&server, "GET", path, "").status(), 200);
    }
    server.get("/a.html");
    server.access_log().expect(&["GET /a.html"]);
    assert_eq!(state(&server)["ended"], 1);
    let log = server.access_log().lines().concat();
    assert!(!log.contains("GET /_wasgi/"), "{log}");
    server.stop();
}
