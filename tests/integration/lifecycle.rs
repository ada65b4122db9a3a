//! From the command line to the exit code.

use std::io::{PipeReader, Read};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::support::client::{Client, Ending};
use crate::support::command::{code_cache, run, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{eventually, guests};

/// Starts a request to `/echo` that stays in flight: half of its body has been echoed.
fn begin_echo(server: &Server) -> Client {
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("4\r\nhalf\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk(), b"half");
    client
}

fn finish_echo(mut client: Client) {
    client.send("4\r\nrest\r\n0\r\n\r\n");
    assert_eq!(client.chunk(), b"rest");
    assert_eq!(client.chunk(), b"");
    assert_eq!(client.ending(), Ending::Closed);
}

/// Waits until all threads of the server have closed their listening sockets, and so have started
/// to shut down.
#[track_caller]
fn expect_refused(server: &Server) {
    eventually("new connections are refused", || {
        TcpStream::connect(server.addr()).is_err()
    });
}

#[test]
fn a_signal_lets_the_request_in_flight_finish_and_no_other_begin() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::new().with_demos(["echo"]);
        let server = Server::new(&site);
        let client = begin_echo(&server);
        server.signal(signal);
        server.error_log().expect(&["stopping"]);
        expect_refused(&server);
        finish_echo(client);
        server.wait();
    }
}

#[test]
fn the_answer_to_a_request_that_a_signal_finds_in_work_says_close() {
    let site = Site::new().with_cases(["read-all"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("POST /read-all HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n");
    client.send("Expect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100, "it is in work");
    server.signal(Signal::TERM);
    expect_refused(&server);
    // A request that was pipelined after it is no longer answered.
    client.send("body");
    client.request("GET", "/read-all");
    let response = client.response();
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("Connection"), Some("close"));
    assert_eq!(client.ending(), Ending::Closed);
    server.wait();
}

#[test]
fn a_second_signal_ends_at_once() {
    let site = Site::new().with_demos(["echo"]);
    let server = Server::new(&site);
    let mut client = begin_echo(&server);
    server.signal(Signal::TERM);
    server.error_log().expect(&["stopping"]);
    server.signal(Signal::TERM);
    let ended = server.wait();
    ended.expect_stderr(&["second signal"]);
    assert!(client.rest().0.is_empty(), "no end of a body that has none");
}

#[test]
fn the_time_for_requests_in_flight_is_limited() {
    let site = Site::new().with_demos(["echo"]);
    let server = Server::with(&site, &["--shutdown-grace", "0.05"]);
    let mut client = begin_echo(&server);
    let ended = server.stop();
    ended.expect_stderr(&["time limit for requests in flight has expired"]);
    ended.expect_stderr(&["1 requests were cut short"]);
    assert!(client.rest().0.is_empty(), "no end of a body that has none");
}

#[test]
fn connections_are_accepted_during_the_delay_and_then_no_more() {
    let site = Site::new().with_page("index.html", "the page");
    let server = Server::with(&site, &["--drain-delay", "3600"]);
    server.signal(Signal::TERM);
    server
        .error_log()
        .expect(&["accepting connections for 3600s"]);
    let mut client = server.connect();
    let response = client.get("/");
    assert_eq!(response.status(), 200);
    assert_eq!(response.field("Connection"), None);
    drop(client);
    server.signal(Signal::TERM);
    server.wait().expect_stderr(&["second signal"]);

    let site = site.with_demos(["echo"]);
    let server = Server::with(&site, &["--drain-delay", "0.05"]);
    let busy = begin_echo(&server);
    server.signal(Signal::TERM);
    expect_refused(&server);
    finish_echo(busy);
    server.wait();
}

#[test]
fn an_event_stream_ends_after_its_own_time() {
    let site = Site::new().with_cases(["events"]);
    let file = site.path().join("wasgi.toml");
    std::fs::write(file, "[server]\nstream-grace = \"50ms\"\n").expect("written");
    let server = Server::with(&site, &["--shutdown-grace", "3600"]);
    let mut client = server.connect();
    client.request("GET", "/events");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.chunk(), b"data: 1\n\n");
    server.signal(Signal::TERM);
    let rest = client.rest().0;
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "the response is complete");
    server.wait();
}

#[test]
fn idle_connections_dont_delay_the_end() {
    // The server would wait an hour for idle connections and for requests in flight.
    let patient = ["--idle-timeout", "3600", "--shutdown-grace", "3600"];
    let site = Site::new().with_page("index.html", "the page");
    let server = Server::with(&site, &patient);
    let mut idle: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for client in &mut idle[..40] {
        assert_eq!(client.get("/").status(), 200);
    }
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
    for client in &mut idle {
        assert_eq!(client.rest().0, b"");
    }
}

#[test]
fn a_log_that_nobody_reads_stalls_neither_requests_nor_the_end() {
    let site = Site::new().with_page("index.html", "the page");
    let (process, addr, log) = serve_with_log(&site);
    // The pipe holds about 64 KiB, and the queue about 4,000 turns of the reactor.
    let mut client = Client::connect(addr);
    for _ in 0..8_000 {
        assert_eq!(client.get("/").status(), 200);
    }
    process.signal(Signal::TERM);
    let ended = process.wait();
    assert!(ended.status.success(), "{}", ended.everything());
    drop(log);
}

#[test]
fn a_log_whose_reader_is_gone_is_no_reason_to_stop() {
    let site = Site::new().with_page("index.html", "the page");
    let (process, addr, log) = serve_with_log(&site);
    drop(log);
    let mut client = Client::connect(addr);
    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 200);
    }
    process.signal(Signal::TERM);
    let ended = process.wait();
    assert!(ended.status.success(), "{}", ended.everything());
}

/// Starts a server whose access log is written to a pipe that the test may leave unread.
fn serve_with_log(site: &Site) -> (Process, SocketAddr, PipeReader) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache", "none"]);
    let process = Process::start_writing_to(command.arg(site.path()), writer.into());
    let mut start = String::new();
    let mut byte = [0];
    // Reads single bytes, so that everything after the line stays in the pipe.
    while !start.ends_with("/\n") {
        (&reader).read_exact(&mut byte).expect("a byte");
        start.push(char::from(byte[0]));
    }
    let addr = start.strip_prefix("listening on http://");
    let addr = addr.and_then(|addr| addr.trim_end_matches("/\n").parse().ok());
    (process, addr.expect("an address"), reader)
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let site = Site::new().with_page("index.html", "the page");
    let server = Server::new(&site);
    let addr = server.addr().to_string();
    let second = serve(&site, &["--addr", &addr]);
    let line = second.refusal();
    assert!(line.contains(&addr) && line.contains("taken"), "{line}");
    assert_eq!(server.get("/").text(), "the page", "the first one goes on");
    server.stop();
}

#[test]
fn an_address_of_nobody_is_one_clear_line() {
    let site = Site::new();
    // RFC 5737: reserved for documentation, so no machine has this address.
    let ended = serve(&site, &["--addr", "192.0.2.1:80"]);
    let line = ended.refusal();
    assert!(line.contains("192.0.2.1:80"), "{line}");
}

#[test]
fn without_both_folders_there_is_one_clear_line() {
    let site = Site::bare();
    for command in ["serve", "routes"] {
        let path = site.path().to_str().expect("text");
        let ended = run([command, path]);
        let line = ended.refusal();
        assert!(line.contains("neither") && line.contains("html"), "{line}");
        assert!(
            line.contains("--root") && line.contains("--handlers"),
            "{line}"
        );
    }
}

#[test]
fn one_folder_is_enough_and_the_other_may_come_later() {
    let site = Site::new().with_page_handler("hello", "the handler");
    std::fs::remove_dir(site.html()).expect("removed");
    let server = Server::new(&site);
    server.error_log().expect(&["html", "no such folder"]);
    assert_eq!(server.get("/hello").text(), "the handler");
    assert_eq!(server.get("/").status(), 404);
    site.write_page("index.html", "the page");
    eventually("pages are served", || server.get("/").status() == 200);
    assert_eq!(server.get("/").text(), "the page");
    server.stop();

    let site = Site::new().with_page("index.html", "the page");
    std::fs::remove_dir(site.handlers()).expect("removed");
    let server = Server::new(&site);
    server.error_log().expect(&["handlers", "no such folder"]);
    assert_eq!(server.get("/").text(), "the page");
    site.write_handler("hello.wat", guests::page("the handler"));
    eventually("handlers are served", || {
        server.get("/hello").status() == 200
    });
    server.stop();
}

#[test]
fn the_folders_can_be_given_one_by_one() {
    let pages = Site::new().with_page("index.html", "the page");
    let handlers = Site::new().with_page_handler("hello", "the handler");
    let (root, handlers_folder) = (pages.html(), handlers.handlers());
    let server = Server::with(
        &Site::bare(),
        &[
            "--root",
            root.to_str().expect("text"),
            "--handlers",
            handlers_folder.to_str().expect("text"),
        ],
    );
    assert_eq!(server.get("/").text(), "the page");
    assert_eq!(server.get("/hello").text(), "the handler");
    server.stop();
}

#[test]
fn the_start_says_what_is_served_and_what_is_wrong() {
    let site = Site::new()
        .with_page("hello.html", "a page")
        .with_page_handler("hello", "the handler")
        .with_page_handler("users/[id]", "a user")
        .with_page_handler("_draft", "not yet");
    std::fs::write(site.handlers().join("notes.txt"), "notes").expect("written");
    std::fs::write(site.handlers().join("broken.wasm"), "prose").expect("written");
    let server = Server::new(&site);
    let ended = server.stop();
    let position = |start: &str| {
        let mut lines = ended.stdout.iter();
        lines.position(|line| line.starts_with(start))
    };
    let listening = position("listening on").expect("it says where it listens");
    let loaded = position("all handlers are loaded").expect("it says that, too");
    assert!(listening < loaded, "{}", ended.everything());
    // A compiled handler is listed when it is loaded, and before that as not loaded yet.
    let start: Vec<&String> = ended.stdout[..loaded]
        .iter()
        .filter(|line| !line.contains("not loaded yet"))
        .collect();
    let lines_with = |parts: &[&str]| {
        let has_all = |line: &&&String| parts.iter().all(|part| line.contains(part));
        start.iter().filter(has_all).count()
    };
    for parts in [
        ["/hello ", "handlers/hello.wat"],
        ["/users/[id] ", "handlers/users/[id].wat"],
        ["problem: ", "handlers/notes.txt"],
    ] {
        assert_eq!(lines_with(&parts), 1, "{start:?}");
    }
    // The problem is either part of the announcement or logged later.
    let problem = ["handlers/broken.wasm", "neither WebAssembly"];
    let told = lines_with(&problem) + ended.stderr_with(&problem);
    assert_eq!(told, 1, "{}", ended.everything());
    assert_eq!(lines_with(&["draft"]), 0, "{start:?}");
}

#[test]
fn routes_are_shown_without_serving() {
    let site = Site::new()
        .with_demos(["hello", "time"])
        .with_page_handler("users/[id]", "a user");
    let short = routes(&site, &[]);
    assert!(short.status.success(), "{}", short.everything());
    assert!(
        !short.stdout.join("").contains("wasi:"),
        "{:?}",
        short.stdout
    );
    let good = routes(&site, &["--verbose"]);
    assert!(good.status.success(), "{}", good.everything());
    assert_eq!(good.stdout.len(), 3, "{}", good.everything());
    assert!(good.stdout[0].starts_with("/hello"), "{:?}", good.stdout);
    assert!(good.stdout[1].contains("wasi:clocks/"), "{:?}", good.stdout);
    assert!(
        good.stdout[2].starts_with("/users/[id]"),
        "{:?}",
        good.stdout
    );

    std::fs::write(site.handlers().join("broken.wasm"), "prose").expect("written");
    let bad = routes(&site, &[]);
    assert_eq!(bad.status.code(), Some(1));
    assert_eq!(bad.stdout.len(), 5, "{}", bad.everything());
    let broken = &bad.stdout[0];
    assert!(
        broken.starts_with("/broken ") && broken.ends_with(" broken"),
        "{broken}"
    );
    assert!(bad.stdout[4].contains("broken.wasm"), "{:?}", bad.stdout);
}

#[test]
fn help_and_version_are_there() {
    for arguments in [&["--help"][..], &["serve", "--help"], &["routes", "--help"]] {
        let help = run(arguments);
        assert!(help.status.success());
        assert!(help.stdout.iter().any(|line| line.contains("Usage: wasgi")));
    }
    let version = run(["--version"]);
    assert!(version.status.success());
    assert_eq!(
        version.stdout,
        [concat!("wasgi ", env!("CARGO_PKG_VERSION"))]
    );
    for nonsense in [
        &["fly"][..],
        &["serve", "--wings"],
        &["serve", "--threads", "0"],
    ] {
        let ended = run(nonsense);
        assert_eq!(ended.status.code(), Some(2), "{nonsense:?}");
        assert!(!ended.stderr.is_empty());
    }
}

#[test]
fn compiled_code_is_kept_for_the_next_start() {
    let site = Site::new().with_demos(["hello"]);
    let cache = site.path().join("cache");
    let start = || {
        let cache = cache.to_str().expect("text");
        let server = Server::with(&site, &["--code-cache", cache]);
        assert_eq!(server.get("/hello").status(), 200);
        server.stop();
        let entries = std::fs::read_dir(cache).expect("the cache");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        names.sort();
        names
    };
    let first = start();
    assert_eq!(first.len(), 1);
    assert_eq!(start(), first, "nothing new is compiled");
}

#[test]
fn a_damaged_entry_of_the_code_cache_is_compiled_again_and_said_so_once() {
    let site = Site::new().with_demos(["hello"]);
    let cache = site.path().join("cache");
    let start = |lines: usize| {
        let server = Server::with(&site, &["--code-cache", cache.to_str().expect("text")]);
        assert_eq!(server.get("/hello").status(), 200);
        let ended = server.stop();
        let said = ended.stderr_with(&["WARN", "code cache", "is damaged: compiled again"]);
        assert_eq!(said, lines, "{}", ended.everything());
        let entries = std::fs::read_dir(&cache).expect("the cache");
        let entries: Vec<_> = entries.map(|it| it.expect("an entry").path()).collect();
        let [entry] = entries.as_slice() else {
            panic!("{entries:?}");
        };
        (entry.clone(), std::fs::read(entry).expect("an entry"))
    };
    let (entry, whole) = start(0);
    for at in [0, 64, whole.len() / 2, whole.len() - 100, whole.len() - 1] {
        let mut bytes = whole.clone();
        let end = (at + 4096).min(bytes.len());
        for byte in &mut bytes[at..end] {
            *byte ^= 0x5a;
        }
        std::fs::write(&entry, bytes).expect("written");
        assert_eq!(start(1), (entry.clone(), whole.clone()), "byte {at}");
    }
    std::fs::write(&entry, "damaged").expect("written");
    start(1);
    start(0);
}

#[test]
fn code_in_a_folder_that_others_can_write_to_is_not_trusted() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new().with_page_handler("hello", "the handler");
    let cache = site.path().join("cache");
    std::fs::create_dir(&cache).expect("a folder");
    std::fs::set_permissions(&cache, PermissionsExt::from_mode(0o777)).expect("a mode");
    let server = Server::with(&site, &["--code-cache", cache.to_str().expect("text")]);
    server
        .error_log()
        .expect(&["WARN", "code cache", "is writable by others"]);
    assert_eq!(server.get("/hello").text(), "the handler");
    server.stop();
    assert_eq!(std::fs::read_dir(&cache).expect("the cache").count(), 0);
}

/// Runs a server that is expected to fail.
#[track_caller]
fn serve(site: &Site, flags: &[&str]) -> Ended {
    let mut command = wasgi(["serve", "--code-cache", "none"]);
    Process::start(command.args(flags).arg(site.path())).wait()
}

#[track_caller]
#[test]
fn routes_are_shown_as_json() {
    let site = Site::new().with_demos(["hello"]);
    std::fs::write(site.handlers().join("broken.wasm"), "prose").expect("written");
    std::fs::write(site.handlers().join("notes.txt"), "prose").expect("written");
    let mut command = wasgi(["routes", "--json", "--code-cache"]);
    let ended = Process::start(command.arg(code_cache()).arg(site.path())).wait();
    assert_eq!(ended.status.code(), Some(1));
    let json: serde_json::Value =
        serde_json::from_str(&ended.stdout.join("\n")).expect("it is JSON");
    let [broken, hello] = json["routes"].as_array().expect("a list").as_slice() else {
        panic!("{json:#}");
    };
    assert_eq!(
        (&broken["route"], &broken["state"]),
        (&"/broken".into(), &"broken".into())
    );
    assert_eq!(
        (&hello["route"], &hello["state"]),
        (&"/hello".into(), &"served".into())
    );
    assert_eq!(hello["kind"], "wasgi");
    let problems = json["problems"].as_array().expect("a list").iter();
    let kinds: Vec<_> = problems.map(|problem| problem["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("broken"), Some("not-a-handler")], "{json:#}");
}

fn routes(site: &Site, flags: &[&str]) -> Ended {
    let mut command = wasgi(["routes", "--code-cache"]);
    Process::start(command.arg(code_cache()).args(flags).arg(site.path())).wait()
}
