//! The admin listener: its endpoints, and who reaches them.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::client::{Client, Ending};
use crate::support::command::run;
use crate::support::response::Response;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{eventually, guests};

/// The section for a listener on a free port.
pub(crate) const ANY_PORT: &str = "[admin]\naddr = \"127.0.0.1:0\"\n";

/// The number of locals for which a handler compiles for some seconds; see `cold_start`.
const SECONDS: usize = 6_000;

/// More connections than the listener serves at a time.
const MANY: usize = 40;

/// Exceeds the buffers of the sockets between a server and a client, in bytes.
const LARGE_PAGE_BYTES: usize = 32 << 20;

fn site(configuration: &str) -> Site {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "the handler");
    configure(&site, configuration);
    site
}

pub(crate) fn configure(site: &Site, text: &str) {
    std::fs::write(site.path().join("wasgi.toml"), text).expect("written");
}

/// Returns where the admin listener is.
pub(crate) fn address(server: &Server) -> SocketAddr {
    let line = server.access_log().expect(&["admin listener on http://"]);
    let (_, addr) = line.split_once("://").expect("an address");
    addr.trim_end_matches('/').parse().expect("an address")
}

/// Sends a request to the admin listener.
fn ask(addr: SocketAddr, method: &str, target: &str, host: &str) -> Response {
    let mut client = Client::connect(addr);
    client.send(format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
    ));
    client.response_to(method)
}

pub(crate) fn get(addr: SocketAddr, target: &str) -> Response {
    ask(addr, "GET", target, "localhost")
}

pub(crate) fn status(addr: SocketAddr) -> Value {
    let response = get(addr, "/status");
    assert_eq!(response.field("Content-Type"), Some("application/json"));
    serde_json::from_str(response.text()).expect("JSON")
}

/// Returns the process IDs of the serving processes.
fn pids(status: &Value) -> Vec<i64> {
    let processes = status["processes"].as_array().expect("a list");
    let pids = processes.iter().map(|one| one["pid"].as_i64());
    pids.map(|pid| pid.expect("a number")).collect()
}

/// Sends a signal to the first serving process, and returns its ID.
pub(crate) fn kill_one_of(status: &Value, signal: Signal) -> i64 {
    let first = pids(status)[0];
    let pid = i32::try_from(first).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process ID"), signal).expect("sent");
    first
}

#[test]
fn the_status_tells_of_handlers_and_grants_without_values() {
    let site = site(&format!(
        "{ANY_PORT}[handlers.hello]\nenvironment = {{ PLAIN = \"not for eyes\" }}\n\
         secrets = {{ TOKEN = {{ file = \"token\" }} }}\n\
         allowed-outbound-hosts = [\"https://api.test\"]\nkey-value = [\"visits\"]\n"
    ));
    std::fs::write(site.path().join("token"), "hunter2").expect("written");
    site.write_handler("broken.wat", "(not a module");
    let server = Server::with(&site, &[]);
    let admin = address(&server);
    assert_eq!(get(admin, "/healthz").text(), "ok\n");
    assert_eq!(get(admin, "/readyz").text(), "ready\n");
    let _open = [server.connect(), server.connect()];
    eventually("both connections are counted", || {
        status(admin)["connections"] == 2
    });
    let status = status(admin);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["state"], "ready");
    assert_eq!(pids(&status), [i64::from(server.id())]);
    let [hello] = &status["handlers"].as_array().expect("a list")[..] else {
        panic!("{status:#}");
    };
    assert_eq!(hello["name"], "hello");
    assert_eq!(hello["route"], "/hello");
    assert_eq!(hello["kind"], "wasgi");
    assert_eq!(hello["in-flight"], 0);
    let length = guests::page("the handler").len();
    assert_eq!(hello["file-bytes"], length);
    assert_eq!(hello["version"].as_str().map(str::len), Some(12));
    let grants = serde_json::json!({
        "environment": ["PLAIN"],
        "secrets": ["TOKEN"],
        "allowed-outbound-hosts": ["https://api.test"],
        "key-value": ["visits"],
    });
    assert_eq!(hello["grants"], grants);
    let problem = status["problems"][0]["file"].as_str().expect("a file");
    assert!(problem.ends_with("handlers/broken.wat"), "{problem}");
    for secret in ["not for eyes", "hunter2"] {
        assert!(!status.to_string().contains(secret), "{status:#}");
    }
}

#[test]
fn the_sites_port_has_no_admin_path_and_the_other_way_round() {
    let site = site(ANY_PORT);
    let server = Server::with(&site, &[]);
    let admin = address(&server);
    for path in ["/healthz", "/readyz", "/status"] {
        assert_eq!(server.get(path).status(), 404, "{path}");
        assert_eq!(get(admin, path).status(), 200, "{path}");
    }
    for path in ["/%73tatus", "//status", "/./status"] {
        assert_eq!(server.get(path).status(), 404, "{path}");
    }
    for path in ["/", "/hello", "/index.html"] {
        assert_eq!(get(admin, path).status(), 404, "{path}");
    }
    // Neither does a proxy's field, nor the address as the request's host.
    let mut client = server.connect();
    client.send(format!(
        "GET http://{admin}/status HTTP/1.1\r\nHost: {admin}\r\nX-Forwarded-Host: {admin}\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 404);
}

#[test]
fn a_page_in_a_browser_can_not_read_the_admin_listener_by_another_name() {
    let site = site(ANY_PORT);
    let server = Server::with(&site, &[]);
    let admin = address(&server);
    assert_eq!(
        ask(admin, "GET", "/status", &admin.to_string()).status(),
        200
    );
    for host in ["attacker.test", "localhost.attacker.test", ""] {
        let response = ask(admin, "GET", "/status", host);
        assert_eq!(response.status(), 421, "{host}");
        assert!(!response.text().contains("hello"), "{}", response.text());
    }
    let response = ask(admin, "POST", "/status", "localhost");
    assert_eq!(response.status(), 405);
    assert_eq!(response.field("Allow"), Some("GET, HEAD"));
    let response = ask(admin, "HEAD", "/status", "localhost");
    assert_eq!(response.status(), 200);
    assert_eq!(response.text(), "");
}

#[test]
fn a_unix_socket_is_an_admin_listener_and_is_removed_at_the_end() {
    let site = site("[admin]\naddr = \"unix:admin.sock\"\n");
    let server = Server::with(&site, &[]);
    server.access_log().expect(&["admin listener on unix:"]);
    let path = site.path().join("admin.sock");
    let mut stream = UnixStream::connect(&path).expect("it listens");
    let request = b"GET /readyz HTTP/1.1\r\nHost: any\r\n\r\n";
    stream.write_all(request).expect("sent");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("received");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\nready\n"), "{response}");
    server.stop();
    assert!(!path.exists());
}

#[test]
fn an_address_that_can_not_be_used_is_told_in_one_line() {
    for (addr, why) in [
        ("\"0.0.0.0:9000\"", "asks for no password"),
        ("\"unix:\"", "the path is missing"),
        (
            "\"unix:missing/admin.sock\"",
            "there is no such folder: create it",
        ),
        ("\"unix:wasgi.toml\"", "is not a socket"),
    ] {
        let site = site(&format!("[admin]\naddr = {addr}\n"));
        let site = site.path().to_str().expect("UTF-8");
        let ended = run(["serve", "--addr", "127.0.0.1:0", site]);
        assert!(!ended.status.success());
        let refusal = ended.refusal();
        assert!(refusal.contains("admin.addr"), "{refusal}");
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn it_is_not_ready_before_the_first_handlers_are_loaded_and_while_it_drains() {
    let site = site(ANY_PORT).with_page("large.bin", vec![7; LARGE_PAGE_BYTES]);
    site.write_handler("slow.wat", guests::slow_page("slow", SECONDS));
    let cache = tempfile::tempdir().expect("a folder");
    let mut command = crate::support::command::wasgi(["serve", "--addr", "127.0.0.1:0"]);
    command
        .arg("--code-cache")
        .arg(cache.path())
        .arg(site.path());
    let server = Server::listening(crate::support::process::Process::start(&mut command));
    let admin = address(&server);
    let response = get(admin, "/readyz");
    // On a busy machine, the handler may be loaded before the test continues.
    if response.status() != 200 {
        assert_eq!(response.status(), 503);
        assert_eq!(response.text(), "starting\n");
        assert_eq!(response.field("Retry-After"), Some("1"));
    }
    eventually("it is ready", || get(admin, "/readyz").status() == 200);

    let mut client = server.connect();
    client.request("GET", "/large.bin");
    assert_eq!(client.head().status, 200);
    server.signal(Signal::TERM);
    eventually("it drains", || get(admin, "/readyz").text() == "draining\n");
    assert_eq!(get(admin, "/healthz").status(), 200);
    assert_eq!(status(admin)["state"], "draining");
    assert_eq!(client.rest().0.len(), LARGE_PAGE_BYTES);
    server.wait();
}

#[test]
fn one_listener_tells_of_all_processes_also_after_one_has_died() {
    let site = site(ANY_PORT);
    let server = Server::with(&site, &["--processes", "2", "--threads", "1"]);
    let admin = address(&server);
    assert_eq!(get(admin, "/readyz").status(), 200);
    let before = pids(&status(admin));
    assert_eq!(before.len(), 2);
    let connections: Vec<Client> = (0..MANY).map(|_| server.connect()).collect();
    eventually("all connections are counted", || {
        status(admin)["connections"] == MANY
    });
    drop(connections);

    kill_one_of(&status(admin), Signal::KILL);
    eventually("another process serves", || {
        let now = pids(&status(admin));
        now.len() == 2 && !now.contains(&before[0])
    });
    eventually("its handlers are loaded", || {
        get(admin, "/readyz").status() == 200
    });
    assert_eq!(status(admin)["handlers"][0]["name"], "hello");
    server.stop();
}

#[test]
fn a_stopped_process_keeps_nobody_from_the_others_state() {
    let site = site(ANY_PORT);
    let server = Server::with(&site, &["--processes", "2", "--threads", "1"]);
    let admin = address(&server);
    let both = pids(&status(admin));
    let stopped = Pid::from_raw(i32::try_from(both[1]).expect("an ID")).expect("an ID");
    kill_process(stopped, Signal::STOP).expect("stopped");
    for _ in 0..3 {
        assert_eq!(pids(&status(admin)), both, "it is shown as it was");
    }
    kill_process(stopped, Signal::CONT).expect("continued");
    assert_eq!(pids(&status(admin)), both);
    server.stop();
}

#[test]
fn slow_and_long_requests_cost_the_site_nothing() {
    let site = site(ANY_PORT);
    let server = Server::with(&site, &[]);
    let admin = address(&server);
    let slow: Vec<Client> = (0..MANY)
        .map(|_| {
            let mut client = Client::connect(admin);
            client.send("GET /status HTTP/1.1\r\n");
            client
        })
        .collect();
    assert_eq!(server.get("/").text(), "the page");
    assert_eq!(server.get("/hello").text(), "the handler");
    // Those that it serves are cut off after a while, and the others follow.
    for mut client in slow {
        assert_eq!(client.ending(), Ending::Closed);
    }
    let long = format!("X: {}\r\n", "a".repeat(100_000));
    let many = "X: a\r\n".repeat(1000);
    for fields in [long, many] {
        let mut client = Client::connect(admin);
        // It may answer and close before all of it is sent.
        let head = format!("GET /status HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let _ = client.try_send(head.as_bytes());
        if let Ok(response) = client.try_response_to("GET") {
            assert_eq!(response.status(), 431);
        }
    }
    assert_eq!(get(admin, "/healthz").status(), 200);
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}
