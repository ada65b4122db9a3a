//! `wasgi dev`: the script in HTML documents, the server's own endpoints, and reports of failures.

use std::fmt::Write;

use crate::support::client::{Client, Ending};
use crate::support::command::{code_cache, wasgi};
use crate::support::process::Process;
use crate::support::response::{Framing, Response};
use crate::support::server::Server;
use crate::support::site::Site;

/// A page with a head.
const PAGE: &str =
    "<!doctype html><html lang=en><head><title>a</title></head><body>b</body></html>";

const STRICT: &str = "default-src 'none'; script-src 'nonce-abc'";

/// What a browser sends for a document.
const DOCUMENT: &str = "Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\
     Accept-Encoding: gzip, br, zstd\r\nIf-None-Match: *\r\nRange: bytes=0-3\r\n";

pub(crate) fn dev(site: &Site) -> Server {
    Server::started(Process::start(
        wasgi(["dev", "--addr", "127.0.0.1:0", "--threads", "2"])
            .arg("--code-cache")
            .arg(code_cache())
            .arg(site.path()),
    ))
}

/// Returns the text of a CGI program that writes the blocks, and then traps if `traps`.
pub(crate) fn program(blocks: &[&str], traps: bool) -> String {
    let mut data = String::new();
    let mut code = String::new();
    let mut at = 1024;
    for block in blocks {
        let bytes: String = block.bytes().fold(String::new(), |mut text, byte| {
            write!(text, "\\{byte:02x}").expect("written");
            text
        });
        let length = block.len();
        writeln!(data, "(data (i32.const {at}) \"{bytes}\")").expect("written");
        writeln!(
            code,
            "(i32.store (i32.const 0) (i32.const {at})) (i32.store (i32.const 4) (i32.const {length}))\n\
             (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
        )
        .expect("written");
        at += length;
    }
    let end = if traps { "unreachable" } else { "" };
    format!(
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\"\n\
         (func $write (param i32 i32 i32 i32) (result i32)))\n\
         (memory (export \"memory\") 4)\n{data}(func (export \"_start\")\n{code}{end}))"
    )
}

pub(crate) fn get(server: &Server, method: &str, target: &str, fields: &str) -> Response {
    let mut client = server.connect();
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\n{fields}Connection: close\r\n\r\n",
        server.addr()
    ));
    client.response_to(method)
}

pub(crate) fn document(server: &Server, target: &str) -> Response {
    get(server, "GET", target, DOCUMENT)
}

pub(crate) fn text(response: &Response) -> String {
    String::from_utf8(response.body.clone()).expect("UTF-8")
}

/// Opens an event stream, and reads up to its first event.
fn events(server: &Server, query: &str) -> (Client, String) {
    let mut client = server.connect();
    client.send(format!(
        "GET /_wasgi/events{query} HTTP/1.1\r\nHost: {}\r\nOrigin: http://{}\r\n\r\n",
        server.addr(),
        server.addr()
    ));
    let head = client.head();
    assert_eq!(head.status, 200);
    assert_eq!(head.field("Content-Type"), Some("text/event-stream"));
    let text = until(&mut client, "event: hello");
    (client, text)
}

/// Reads from an event stream until an event with this text.
fn until(client: &mut Client, wanted: &str) -> String {
    let mut text = String::new();
    while !text.contains(wanted) {
        text += &String::from_utf8(client.chunk()).expect("UTF-8");
    }
    text
}

#[test]
fn a_document_gets_the_script_and_is_whole_whatever_the_browser_has() {
    let site = Site::new()
        .with_page("a.html", PAGE)
        .with_page("a.html.gz", "compressed");
    let server = dev(&site);
    let response = document(&server, "/a.html");
    assert_eq!(response.head.status, 200);
    assert!(matches!(response.framing, Framing::Length(_)));
    let body = text(&response);
    let (front, rest) = body
        .split_once("<script async src=\"/_wasgi/dev.js\"")
        .expect("a script");
    assert!(front.ends_with("<head>"), "{body}");
    let (_, rest) = rest.split_once("</script>").expect("its end");
    assert_eq!(format!("{front}{rest}"), PAGE);
    for field in ["ETag", "Last-Modified", "Content-Encoding", "Accept-Ranges"] {
        assert_eq!(response.head.field(field), None, "{field}");
    }
    let head = get(&server, "HEAD", "/a.html", DOCUMENT);
    assert_eq!(
        head.head.field("Content-Length"),
        response.head.field("Content-Length")
    );
    server.stop();
}

#[test]
fn what_is_not_a_document_is_the_same_as_in_serve() {
    let site = Site::new()
        .with_page("a.html", PAGE)
        .with_page("a.css", "a { }");
    let server = dev(&site);
    for fields in [
        "",
        "Sec-Fetch-Dest: empty\r\nAccept: text/html\r\n",
        "Accept: */*\r\n",
    ] {
        let response = get(&server, "GET", "/a.html", fields);
        assert_eq!(text(&response), PAGE, "{fields}");
        let tag = response.head.field("ETag").expect("a tag").to_owned();
        let again = get(
            &server,
            "GET",
            "/a.html",
            &format!("If-None-Match: {tag}\r\n"),
        );
        assert_eq!(again.head.status, 304);
    }
    let part = get(&server, "GET", "/a.html", "Range: bytes=0-3\r\n");
    assert_eq!((part.head.status, text(&part).as_str()), (206, "<!do"));
    // A style sheet that is opened as a document.
    assert_eq!(text(&document(&server, "/a.css")), "a { }");
    // Under another name, nothing is added.
    let mut client = server.connect();
    client.send(format!(
        "GET /a.html HTTP/1.1\r\nHost: evil.example\r\n{DOCUMENT}\r\n"
    ));
    assert!(!text(&client.response()).contains("/_wasgi/"));
    server.stop();
}

#[test]
fn documents_of_handlers_get_the_script_however_they_are_sent() {
    let site = Site::new();
    let head = "Content-Type: text/html\n";
    let csp = format!("Content-Security-Policy: {STRICT}\n");
    let length = format!("Content-Length: {}\n", PAGE.len());
    let (one, two) = PAGE.split_at(20);
    site.write_handler("whole.wat", program(&[head, &length, "\n", PAGE], false));
    site.write_handler("chunked.wat", program(&[head, &csp, "\n", one, two], false));
    site.write_handler(
        "text.wat",
        program(&["Content-Type: text/plain\n\n", PAGE], false),
    );
    let server = dev(&site);
    for route in ["/whole", "/chunked"] {
        let response = document(&server, route);
        let body = text(&response);
        assert!(
            body.contains("<head><script async src=\"/_wasgi/dev.js\""),
            "{body}"
        );
        assert!(body.ends_with("</html>"));
        assert!(!text(&get(&server, "GET", route, "")).contains("/_wasgi/"));
        assert!(get(&server, "HEAD", route, DOCUMENT).body.is_empty());
    }
    let whole = document(&server, "/whole");
    assert_eq!(whole.framing, Framing::Length(whole.body.len()));
    assert_eq!(text(&document(&server, "/text")), PAGE);
    let chunked = document(&server, "/chunked");
    let policy = chunked
        .head
        .field("Content-Security-Policy")
        .expect("a policy");
    let (_, nonce) = policy
        .rsplit_once("script-src-elem 'nonce-abc' 'nonce-")
        .expect(policy);
    let (nonce, _) = nonce.split_once('\'').expect("its end");
    assert!(
        text(&chunked).contains(&format!("nonce=\"{nonce}\"")),
        "{policy}"
    );
    server.stop();
}

#[test]
fn a_page_elsewhere_reaches_no_endpoint() {
    let site = Site::new();
    let server = dev(&site);
    let addr = server.addr();
    for (method, fields, status) in [
        ("GET", format!("Host: {addr}"), 200),
        ("GET", format!("Host: evil.example:{}", addr.port()), 403),
        (
            "GET",
            format!("Host: {addr}\r\nOrigin: http://evil.example"),
            403,
        ),
        (
            "GET",
            format!("Host: {addr}\r\nSec-Fetch-Site: cross-site"),
            403,
        ),
        ("POST", format!("Host: {addr}\r\nContent-Length: 0"), 403),
        (
            "POST",
            format!("Host: {addr}\r\nContent-Length: 0\r\nOrigin: null"),
            403,
        ),
        (
            "POST",
            format!("Host: {addr}\r\nContent-Length: 0\r\nOrigin: http://{addr}"),
            405,
        ),
    ] {
        let mut client = server.connect();
        client.send(format!(
            "{method} /_wasgi/dev.js HTTP/1.1\r\n{fields}\r\n\r\n"
        ));
        assert_eq!(client.response().head.status, status, "{method} {fields}");
    }
    server.stop();
}

#[test]
fn serve_has_no_endpoints_and_shows_no_failure() {
    let site = Site::new().with_page("a.html", PAGE);
    site.write_handler("trap.wat", program(&[], true));
    let server = Server::new(&site);
    assert_eq!(get(&server, "GET", "/_wasgi/dev.js", "").head.status, 404);
    assert_eq!(get(&server, "GET", "/_wasgi/events", "").head.status, 404);
    for path in ["/_wasgi/", "/_wasgi/state", "/_wasgi/requests/1"] {
        assert_eq!(get(&server, "GET", path, "").head.status, 404, "{path}");
    }
    assert!(!text(&document(&server, "/404")).contains("/_wasgi/dev.js"));
    let mut client = server.connect();
    client.send(format!(
        "GET /a.html HTTP/1.1\r\nHost: {}\r\nSec-Fetch-Dest: document\r\n\r\n",
        server.addr()
    ));
    assert_eq!(text(&client.response()), PAGE);
    let failed = get(&server, "GET", "/trap", "Sec-Fetch-Dest: document\r\n");
    let body = text(&failed);
    assert!(
        !body.contains("unreachable") && !body.contains("trap"),
        "{body}"
    );
    let line = server.error_log().expect(&["trapped", "GET /trap #"]);
    let (_, id) = line.split_once("GET /trap #").expect("an identifier");
    let id = id.split(')').next().unwrap_or_default();
    assert!(id.len() == 16 && body.contains(id), "{id}: {body}");
    server
        .access_log()
        .expect(&["GET /trap", &format!("#{id}")]);
    server.stop();
}

#[test]
fn an_event_stream_tells_of_changes_and_continues_after_a_break() {
    let site = Site::new().with_page("a.html", PAGE);
    let server = dev(&site);
    let (mut client, hello) = events(&server, "");
    assert!(hello.contains("\"missed\":false"), "{hello}");
    // The first change may be that the folder is now watched.
    site.write_page("a.html", "changed");
    until(&mut client, "event: changed");
    site.write_page("a.html", "changed again");
    let change = until(&mut client, "a.html");
    let (_, mark) = change.rsplit_once("id: ").expect("a mark");
    let (mark, _) = mark.split_once('\n').expect("its end");
    site.write_handler(
        "hello.wat",
        program(&["Content-Type: text/html\n\nhello"], false),
    );
    let loaded = until(&mut client, "event: loaded");
    assert!(
        loaded.contains("\"handler\":\"hello\",\"route\":\"/hello\""),
        "{loaded}"
    );
    drop(client);
    let (mut again, text) = events(&server, &format!("?since={mark}"));
    if !text.contains("event: loaded") {
        until(&mut again, "event: loaded");
    }
    let (_, other) = events(&server, "?since=another-1");
    assert!(other.contains("\"missed\":true"), "{other}");
    server.stop();
}

#[test]
fn streams_are_limited_and_end_with_the_server() {
    let site = Site::new();
    let server = dev(&site);
    let mut streams: Vec<_> = (0..64).map(|_| events(&server, "").0).collect();
    assert_eq!(get(&server, "GET", "/_wasgi/events", "").head.status, 503);
    let mut first = streams.pop().expect("one");
    first.finish_sending();
    assert_eq!(first.rest().1, Ending::Closed);
    let _new = events(&server, "");
    // It doesn't wait for them.
    server.stop();
}

#[test]
fn a_failed_request_is_explained_in_the_browser_and_on_open_pages() {
    let site = Site::new();
    site.write_handler("trap.wat", program(&[], true));
    let server = dev(&site);
    let (mut client, _) = events(&server, "");
    let response = document(&server, "/trap?</script><b>");
    assert_eq!(response.head.status, 500);
    let body = text(&response);
    assert!(body.contains("<h1>trap: trapped</h1>"), "{body}");
    assert!(body.contains("GET /trap?\\u003c/script>"), "{body}");
    assert_eq!(body.matches("<script").count(), 2, "{body}");
    let failed = until(&mut client, "event: failed");
    assert!(failed.contains("\"handler\":\"trap\""), "{failed}");
    // Not for a program, nor under another name.
    assert!(!text(&get(&server, "GET", "/trap", "")).contains("trapped"));
    let mut other = server.connect();
    other.send(format!(
        "GET /trap HTTP/1.1\r\nHost: evil.example\r\n{DOCUMENT}\r\n"
    ));
    assert!(!text(&other.response()).contains("trapped"));
    server.stop();
}

#[test]
fn a_violation_of_the_contract_is_shown_on_open_pages() {
    let site = Site::new();
    let short = program(
        &["Content-Type: text/html\nContent-Length: 99\n\n", PAGE],
        false,
    );
    site.write_handler("short.wat", short);
    let server = dev(&site);
    let (mut client, _) = events(&server, "");
    let mut asking = server.connect();
    asking.send(format!(
        "GET /short HTTP/1.1\r\nHost: {}\r\n\r\n",
        server.addr()
    ));
    let failed = until(&mut client, "event: failed");
    assert!(
        failed.contains("violated the contract") && failed.contains("GET /short"),
        "{failed}"
    );
    server.stop();
}

#[test]
fn a_handler_that_does_not_load_is_explained_until_it_does() {
    let site = Site::new();
    site.write_handler(
        "a.wat",
        "(module\n  (func (export \"_start\")\n    i32.nonsense))",
    );
    let server = dev(&site);
    let body = text(&document(&server, "/a"));
    assert!(
        body.contains("could not be loaded") && body.contains("i32.nonsense"),
        "{body}"
    );
    assert!(body.contains("data-mode=\"error\""));
    // What is no browser gets it as text, unless it may be a page elsewhere.
    let plain = get(&server, "GET", "/a", "");
    assert_eq!(plain.status(), 500);
    assert!(
        plain.text().starts_with("a: could not be loaded\n"),
        "{}",
        plain.text()
    );
    assert!(
        plain.text().contains(">     3      i32.nonsense"),
        "{}",
        plain.text()
    );
    let mut elsewhere = server.connect();
    elsewhere.send("GET /a HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let refused = elsewhere.response();
    assert!(refused.status() >= 400 && !refused.text().contains("nonsense"));
    let (mut client, hello) = events(&server, "");
    assert!(hello.contains("\"kind\":\"load\""), "{hello}");
    site.replace_handler(
        "a.wat",
        program(&["Content-Type: text/html\n\n", PAGE], false),
    );
    until(&mut client, "event: loaded");
    assert!(text(&document(&server, "/a")).contains("<body>b</body>"));
    let (_, hello) = events(&server, "");
    assert!(hello.contains("\"failures\":[]"), "{hello}");
    server.stop();
}

#[test]
fn only_loopback_addresses_are_listened_on() {
    let site = Site::new();
    for addr in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let mut command = wasgi(["dev", "--addr", addr]);
        let ended = Process::start(command.arg(site.path())).wait();
        assert!(!ended.status.success());
        let said = ended.everything();
        assert!(
            said.contains("listens only on loopback addresses"),
            "{said}"
        );
        assert_eq!(said.matches("wasgi: ").count(), 1, "{said}");
    }
}

#[test]
fn the_start_screen_says_what_is_served() {
    let site = Site::new();
    site.write_handler(
        "a.wat",
        program(&["Content-Type: text/html\n\n", PAGE], false),
    );
    site.write_handler("b.wat", "(nonsense");
    let server = dev(&site);
    server.access_log().expect(&["wasgi dev"]);
    server.access_log().expect(&["dashboard", "/_wasgi/"]);
    server.access_log().expect(&["Open pages follow"]);
    server.access_log().expect(&["listening on http://"]);
    assert!(!server.access_log().lines().concat().contains('\x1b'));
    server.stop();
}
