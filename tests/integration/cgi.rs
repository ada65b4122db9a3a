//! Commands that run as CGI: programs with a `main` and core modules for preview 1, in the folder
//! of handlers.

use crate::support::body::{MIB, noise};
use crate::support::client::{Client, Ending};
use crate::support::eventually;
use crate::support::guests;
use crate::support::server::Server;
use crate::support::site::Site;

/// Returns a target for which `cgi-raw` writes `output`.
fn raw(output: &str) -> String {
    let mut target = String::from("/cgi-raw?output=");
    for byte in output.bytes() {
        target += &format!("%{byte:02x}");
    }
    target
}

#[test]
fn a_command_answers_with_what_it_writes() {
    let site = Site::new().with_cases(["cgi-raw"]);
    let server = Server::new(&site);
    let hello = server.get(&raw("Content-Type: text/plain\n\nHello\n"));
    assert_eq!((hello.status(), hello.text()), (200, "Hello\n"));
    assert_eq!(hello.field("Content-Type"), Some("text/plain"));
    // The program had ended before the head was sent, so the length is known (B4).
    assert_eq!(hello.field("Content-Length"), Some("6"));

    let missing = server.get(&raw("Status: 404 Not Here\r\nX-A: b\r\n\r\n"));
    assert_eq!((missing.status(), missing.text()), (404, ""));
    assert_eq!(missing.head.reason, "Not Here");
    assert_eq!(missing.field("X-A"), Some("b"));

    for location in ["/elsewhere?a=b", "http://a.example/"] {
        let redirect = server.get(&raw(&format!("Location: {location}\n\n")));
        assert_eq!(redirect.status(), 302);
        assert_eq!(redirect.field("Location"), Some(location));
    }
    let cookies = server.get(&raw("Status: 200\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n"));
    assert_eq!(cookies.head.all("Set-Cookie"), ["a=1", "b=2"]);

    let target = raw("Content-Type: text/plain\n\nnothing of this");
    let head = server.ask("HEAD", &target);
    assert_eq!((head.status(), head.text()), (200, ""));
    server.stop();
}

#[test]
fn a_head_that_is_none_is_a_500_with_a_line_that_says_why() {
    let site = Site::new().with_cases(["cgi-raw"]);
    let server = Server::with(&site, &["--max-response-head", "1"]);
    let large = format!("Content-Type: a/b\nX: {}\n\n", "x".repeat(1100));
    let endless = "x".repeat(2000);
    let bad = [
        ("", "it wrote nothing"),
        (
            "Content-Type: text/plain\n",
            "an empty line ends the fields",
        ),
        ("Hello, world\n", "`Hello, world`"),
        (
            "\nContent-Type: text/plain\n\nx",
            "neither Content-Type nor",
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", "Status: 200 OK"),
        ("Status: fine\n\n", "three digits"),
        ("Status: 200\nStatus: 201\n\n", "more than one Status"),
        (
            "Content-Type: a/b\nTransfer-Encoding: chunked\n\n",
            "hop-by-hop",
        ),
        ("Content-Type: a/b\nX: a\u{7}b\n\n", "control character"),
        (&large, "--max-response-head"),
        (&endless, "--max-response-head"),
    ];
    for (output, why) in bad {
        assert_eq!(server.get(&raw(output)).status(), 500, "{output:?}");
        server
            .error_log()
            .expect(&["ERROR", "cgi-raw: returned no valid response: ", why]);
    }
    let ended = server.stop();
    let lines = ended.stderr_with(&["cgi-raw"]);
    assert_eq!(lines, bad.len(), "{}", ended.everything());
}

#[test]
fn what_is_no_text_is_sent_as_it_was_written() {
    let site = Site::new().with_cases(["cgi-raw"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request(
        "GET",
        "/cgi-raw?output=Status:%20299%20Caf%e9%0aContent-Type:%20a/b%0aX-A:%20caf%e9%0a%0a%ff",
    );
    client.finish_sending();
    let (bytes, _) = client.rest();
    assert!(
        bytes.starts_with(b"HTTP/1.1 299 Caf\xe9\r\n"),
        "{}",
        bytes.escape_ascii()
    );
    let field = b"X-A: caf\xe9\r\n";
    assert!(bytes.windows(field.len()).any(|part| part == field));
    assert!(bytes.ends_with(b"\xff"));
    server.stop();
}

#[test]
fn a_body_that_is_shorter_than_it_says_is_cut() {
    let site = Site::new().with_cases(["cgi-raw"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", &raw("Content-Type: a/b\nContent-Length: 9\n\nfour"));
    assert_eq!(client.cut_response().body, b"four");
    server
        .error_log()
        .expect(&["cgi-raw: the body is shorter than its Content-Length"]);
    server.stop();
}

#[test]
fn a_body_comes_back_as_it_was() {
    let site = Site::new().with_cases(["cgi-echo"]);
    let server = Server::new(&site);
    let body = noise(200_000);
    let mut client = server.connect();
    let response = client.post("/cgi-echo", &body);
    assert_eq!(response.status(), 200);
    assert!(response.body == body, "the body differs");
    assert_eq!(client.post("/cgi-echo", b"").body, b"");
    server.stop();
}

#[test]
fn a_body_streams_both_ways() {
    let site = Site::new().with_cases(["cgi-echo"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("POST /cgi-echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.expect_blocks_back(false);
    server.stop();
}

#[test]
fn a_program_that_does_not_read_slows_its_client_down_and_fills_no_memory() {
    let site = Site::new().with_cases(["cgi-fail", "cgi-echo"]);
    let server = Server::new(&site);
    assert_eq!(server.connect().post("/cgi-echo", b"once").body, b"once");
    let mark = server.mark_memory();
    let mut client = server.connect();
    client.begin_post("/cgi-fail?sleep", 32 * MIB);
    assert!(client.send_until_blocked(&noise(32 * MIB)) < 32 * MIB);
    // A client that doesn't read the response is slowed down too.
    let mut lazy = server.connect();
    lazy.begin_post("/cgi-echo", 64 * MIB);
    assert!(lazy.send_until_blocked(&noise(64 * MIB)) < 64 * MIB);
    server.expect_little_growth(mark);
    drop((client, lazy));
    drop(server);
}

#[test]
fn the_environment_is_the_request_and_nothing_of_the_hosts() {
    let site = Site::new();
    site.install("users/[id].wasm", &guests::case("cgi-environ"));
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send(
        "POST /users/7/a%20b?q=1 HTTP/1.1\r\nHost: a.example:81\r\nContent-Type: text/x\r\n\
         Content-Length: 4\r\nX-Thing: one\r\nX_Thing: shadow\r\nProxy: evil\r\nX-Thing: three\r\n\
         \r\nbody",
    );
    let response = client.response();
    let text = response.text();
    for line in [
        "GATEWAY_INTERFACE=CGI/1.1",
        "REQUEST_METHOD=POST",
        "SCRIPT_NAME=/users/7",
        "PATH_INFO=/a b",
        "QUERY_STRING=q=1",
        "REQUEST_URI=/users/7/a%20b?q=1",
        "SERVER_NAME=a.example",
        "SERVER_PROTOCOL=HTTP/1.1",
        "REMOTE_ADDR=127.0.0.1",
        "CONTENT_TYPE=text/x",
        "CONTENT_LENGTH=4",
        "HTTP_HOST=a.example:81",
        "HTTP_X_THING=one,three",
        "WASGI_ROUTE_ID=7",
        "arguments: [\"/users/7\"]",
        "file: false",
        "folder: false",
        "body: Some(4) bytes",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    assert!(text.contains("network: Err("), "{text}");
    for never in ["HTTP_PROXY", "wsgi.", "shadow", "PATH=", "HOME=", "CARGO"] {
        assert!(!text.contains(never), "{never}: {text}");
    }
    server.stop();
}

#[test]
fn each_way_to_fail_has_its_status_and_its_line() {
    let site = Site::new().with_cases(["cgi-fail", "counter"]);
    let flags = [
        "--max-cpu-time",
        "0.3",
        "--max-memory",
        "16",
        "--max-wall-time",
        "2",
    ];
    let server = Server::with(&site, &flags);
    for (how, status, why) in [
        ("trap", 500, "cgi-fail: trapped: "),
        ("panic", 500, "cgi-fail: trapped: "),
        ("memory", 500, "cgi-fail: ran out of memory"),
        ("loop", 504, "cgi-fail: computed for longer"),
        ("sleep", 504, "cgi-fail: took longer than 2s"),
        ("exit", 500, "cgi-fail: exited with status 1"),
        (
            "nothing",
            500,
            "cgi-fail: returned no valid response: it wrote nothing",
        ),
    ] {
        let response = server.get(&format!("/cgi-fail?{how}"));
        assert_eq!(response.status(), status, "{how}");
        server.error_log().expect(&["ERROR", why]);

        // A response that has begun is cut.
        if how != "nothing" {
            let mut client = server.connect();
            client.request("GET", &format!("/cgi-fail/late?{how}"));
            let cut = client.cut_response();
            assert_eq!(cut.head.map(|head| head.status), Some(200), "{how}");
            assert_eq!(cut.body, b"begun", "{how}");
        }
        assert_eq!(server.get("/counter").text(), "1", "after {how}");
    }
    assert_eq!(server.get("/cgi-fail/late?well").text(), "begun");
    let ended = server.stop();
    assert_eq!(
        ended.stderr_with(&["ERROR"]),
        6 + 7,
        "{}",
        ended.everything()
    );
}

#[test]
fn the_text_of_a_module_is_one_too() {
    let site = Site::new();
    site.write_handler(
        "text.wat",
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 16) "Content-Type: text/plain\n\nfrom text\n")
          (func (export "_start")
            (i32.store (i32.const 0) (i32.const 16))
            (i32.store (i32.const 4) (i32.const 36))
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
    );
    let server = Server::new(&site);
    let response = server.get("/text");
    assert_eq!((response.status(), response.text()), (200, "from text\n"));
    server.stop();
}

#[test]
fn a_program_that_fails_has_no_whole_answer() {
    let site = Site::new().with_cases(["cgi-raw"]);
    let server = Server::new(&site);
    let target = raw("Content-Type: text/plain\n\nall is well");
    assert_eq!(
        server.get(&format!("{target}&exit=0")).text(),
        "all is well"
    );
    // If its output was sent before it failed, the cut connection shows the failure.
    let mut client = server.connect();
    client.request("GET", &format!("{target}&exit=3"));
    match client.try_response_to("GET") {
        Ok(failed) => assert_eq!(failed.status(), 500),
        Err(cut) => assert_eq!(cut.ending, Ending::Reset),
    }
    // WASI 0.2 exit codes distinguish only success and failure.
    server
        .error_log()
        .expect(&["ERROR", "cgi-raw: exited with status 1"]);
    server.stop();
}

#[test]
fn lines_leave_one_by_one_and_standard_error_goes_to_the_log() {
    let site = Site::new().with_cases(["cgi-stream"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", "/cgi-stream?4");
    assert_eq!(client.head().status, 200);
    for number in 1..=4 {
        assert_eq!(client.chunk(), format!("line {number}\n").as_bytes());
        server
            .error_log()
            .expect(&["WARN", &format!("cgi-stream: line {number}")]);
    }
    assert_eq!(client.chunk(), b"");
    server.stop();
}

#[test]
fn a_client_that_leaves_ends_the_program() {
    let site = Site::new().with_cases(["cgi-stream", "cgi-echo"]);
    let server = Server::with(&site, &["--max-concurrent", "1"]);
    let mut client = server.connect();
    // The program would run for half an hour.
    client.request("GET", "/cgi-stream?100000");
    assert_eq!(client.head().status, 200);
    client.chunk();
    assert_eq!(server.get("/cgi-stream?1").status(), 503);
    drop(client);
    eventually("its place is free", || {
        server.get("/cgi-stream?1").status() == 200
    });

    let mut client = server.connect();
    client.send("POST /cgi-echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
    assert_eq!(client.head().status, 200);
    drop(client);
    eventually("its place is free", || {
        server.get("/cgi-echo").status() == 200
    });
    let ended = server.stop();
    let errors = ended.stderr_with(&["ERROR", "cgi-stream"]);
    assert_eq!(errors, 0, "{}", ended.everything());
}

#[test]
fn many_commands_run_beside_each_other() {
    let site = Site::new().with_cases(["cgi-stream", "cgi-raw"]);
    let server = Server::new(&site);
    let mut clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.request("GET", "/cgi-stream?5");
    }
    assert_eq!(server.get(&raw("Status: 204\n\n")).status(), 204);
    for client in &mut clients {
        let response = client.response();
        assert_eq!(response.text(), "line 1\nline 2\nline 3\nline 4\nline 5\n");
    }
    server.stop();
}

#[test]
fn a_new_version_is_served_whatever_its_kind() {
    let site = Site::new().with_page_handler("page", "of the first kind");
    let server = Server::new(&site);
    assert_eq!(server.get("/page").text(), "of the first kind");
    site.install("page.wasm", &guests::case("cgi-environ"));
    eventually("the command is served", || {
        server.get("/page").text().contains("GATEWAY_INTERFACE")
    });
    site.install("page.wasm", &guests::case("wasi-http"));
    eventually("the component is served", || {
        server.get("/page").text() == "Hello from wasi:http\n"
    });
    // The list of routes shows the kind.
    let routes = crate::support::command::wasgi(["routes"])
        .arg(site.path())
        .output()
        .expect("the program runs");
    let routes = String::from_utf8_lossy(&routes.stdout).into_owned();
    assert!(routes.contains("page.wasm  wasi:http"), "{routes}");
    server.stop();
}

/// A command whose core modules have a memory each.
const APART: &str = r#"(component
    (core module $memory (memory 1))
    (core instance (instantiate $memory))
    (core module $main (memory 1) (func (export "run") (result i32) (i32.const 0)))
    (core instance $main (instantiate $main))
    (func $run (result (result)) (canon lift (core func $main "run")))
    (instance (export "wasi:cli/run@0.2.0") (export "run" (func $run))))"#;

#[test]
fn a_component_whose_modules_stay_apart_says_why() {
    let site = Site::new().with_page_handler("one", "one module");
    site.write_handler("apart.wat", APART);
    let folder = site.path().to_str().expect("a name");
    let routes = crate::support::command::run(["routes", "--code-cache=none", folder]);
    let text = routes.everything();
    assert!(routes.status.success(), "{text}");
    let told = "apart: its core modules are not combined, so that an instance takes longer to \
                create: no two of its core modules can be combined";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("one: its core modules"), "{text}");
}

#[test]
fn a_core_module_that_tells_its_interfaces_is_served() {
    let site = Site::new().with_cases(["core_module"]);
    let server = Server::new(&site);
    let response = server.get("/core_module");
    assert_eq!(response.text(), "made a component on load");
    let routes = server.access_log();
    routes.expect(&["/core_module ", "core_module.wasm  wasgi"]);
    server.stop();
}

/// Checks a demo handler that describes its request and echoes bodies. Does nothing if it was not
/// built.
fn expect_demo(name: &str) {
    let Some(program) = guests::optional_demo(name) else {
        return;
    };
    let site = Site::new();
    site.install(&format!("{name}.wasm"), &program);
    let server = Server::new(&site);
    let page = server.get(&format!("/{name}/%3Cb%3E?a=b"));
    assert_eq!(page.status(), 200);
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let text = page.text();
    assert!(text.contains("/&lt;b&gt;</code>"), "{text}");
    let body = noise(200_000);
    let target = format!("/{name}");
    let response = server.connect().post(&target, &body);
    assert!(response.body == body, "the body differs");
    let line = format!("{name}: sent 200000 bytes back");
    server.error_log().expect(&["WARN", &line]);
    let mut client = server.connect();
    client.send(format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nin a \r\n5\r\nchunk\r\n0\r\n\r\n"
    ));
    assert_eq!(client.response().text(), "in a chunk");
    let head = server.ask("HEAD", &target);
    assert_eq!((head.status(), head.text()), (200, ""));
    let mut client = server.connect();
    client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
    assert_eq!(client.head().status, 200);
    assert_eq!(client.rest().1, Ending::Closed);
    server.stop();
}

#[test]
fn a_program_in_c_is_served() {
    expect_demo("cgi");
}

#[test]
fn a_program_in_go_is_served() {
    expect_demo("go");
}
