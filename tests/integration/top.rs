//! `wasgi top`: what a running server does, from its admin listener.

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::admin::{ANY_PORT, address, configure};
use crate::support::command::wasgi;
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;

fn site(configuration: &str) -> Site {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "the handler")
        .with_cases(["trap"]);
    configure(&site, configuration);
    site
}

/// Runs `wasgi top --once` for a site.
fn top(site: &Site, flags: &[&str]) -> Output {
    let folder = site.path().to_str().expect("text");
    let common = ["top", folder, "--once", "--interval", "100ms"];
    let mut command = wasgi(common.iter().chain(flags));
    command.output().expect("it starts")
}

fn text(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn once_it_prints_each_route_and_the_last_errors() {
    let site = site(ANY_PORT);
    let server = Server::with(&site, &[]);
    assert_eq!(server.get("/hello").status(), 200);
    assert_eq!(server.get("/trap").status(), 500);
    let admin = address(&server).to_string();
    let shown = text(&top(&site, &["--admin", &admin]));
    let starts = |start: &str| shown.lines().any(|line| line.starts_with(start));
    for start in [
        "wasgi 0", "ROUTE ", "/hello ", "/trap ", "(pages) ", "trap, ",
    ] {
        assert!(starts(start), "{start}\n{shown}");
    }
}

#[test]
fn as_json_it_has_rates_of_the_interval_over_a_unix_socket() {
    let site = site("[admin]\naddr = \"unix:admin.sock\"\n");
    let server = Server::with(&site, &["--processes", "2"]);
    // The requests are sent during the interval.
    let folder = site.path().to_str().expect("text").to_owned();
    let mut top = wasgi(["top", &folder, "--json", "--interval", "200ms"]);
    let mut top = top.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = String::new();
    let mut stdout = top.stdout.take().expect("piped");
    eventually("a report has requests", || {
        assert_eq!(server.get("/hello").status(), 200);
        let mut some = [0; 4096];
        let count = stdout.read(&mut some).expect("it prints");
        lines.push_str(&String::from_utf8_lossy(&some[..count]));
        let reports = lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let mut reports = reports.filter(|report: &Value| report.is_object());
        reports.any(|report| {
            let routes = report["routes"].as_array().expect("a list");
            let hello = routes.iter().find(|one| one["route"] == "/hello");
            let hello = hello.expect("it is served");
            assert_eq!(report["processes"], 2);
            hello["requests-per-second"].as_f64() > Some(0.0)
                && hello["p99-seconds"].as_f64() > Some(0.0)
        })
    });
    top.kill().expect("it runs");
    top.wait().expect("it ends");
}

#[test]
fn a_server_that_is_away_is_one_line() {
    let site = site("[admin]\naddr = \"unix:admin.sock\"\n");
    let failed = |output: Output, expected: &str| {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains(expected), "{told}");
    };
    let socket = site.path().join("admin.sock");
    let line = format!(
        "wasgi: unix:{}: no admin listener answers",
        socket.display()
    );
    failed(top(&site, &[]), &line);
    // Nobody listens on port 1.
    let line = "wasgi: 127.0.0.1:1: no admin listener answers";
    failed(top(&site, &["--admin", "127.0.0.1:1"]), line);
    configure(&site, ANY_PORT);
    failed(top(&site, &[]), "admin.addr has port 0");
    configure(&site, "");
    failed(top(&site, &[]), "wasgi.toml: admin.addr is not set");
}

/// Runs `wasgi top` in a terminal of its own, by the program `script`, and ends it with a key.
/// Returns all that it wrote; none if there is no such program.
fn in_a_terminal(site: &Site, key: &[u8], colours: bool) -> Option<String> {
    let top = wasgi(["top"]);
    let program = top.get_program().to_str().expect("text").to_owned();
    let folder = site.path().to_str().expect("text");
    let command = format!("stty cols 100 rows 20; exec '{program}' top '{folder}'");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]);
    script.env("TERM", "xterm").env_remove("NO_COLOR");
    if !colours {
        script.env("NO_COLOR", "1");
    }
    let started = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut script) = started else {
        println!("skipped: there is no `script`");
        return None;
    };
    let mut stdout = script.stdout.take().expect("piped");
    let mut stdin = script.stdin.take().expect("piped");
    let mut written = Vec::new();
    let shows = |written: &[u8], text: &str| String::from_utf8_lossy(written).contains(text);
    // The last line is drawn last.
    while !shows(&written, "scroll") {
        let mut some = [0; 4096];
        let count = stdout.read(&mut some).expect("it writes");
        assert!(count > 0, "{}", String::from_utf8_lossy(&written));
        written.extend_from_slice(&some[..count]);
    }
    stdin.write_all(key).expect("written");
    stdout.read_to_end(&mut written).expect("it ends");
    assert!(script.wait().expect("it ends").success());
    Some(String::from_utf8_lossy(&written).into_owned())
}

#[test]
fn in_a_terminal_it_is_a_screen_that_a_key_ends_and_that_leaves_the_terminal_as_it_was() {
    const LEAVES: &str = "\u{1b}[?1049l";
    let site = site("[admin]\naddr = \"unix:admin.sock\"\n");
    site.write_handler("broken.wat", "(not a module");
    let _server = Server::with(&site, &[]);
    for (key, colours) in [(&b"q"[..], true), (b"\x1b", false), (b"\x03", true)] {
        let Some(written) = in_a_terminal(&site, key, colours) else {
            return;
        };
        for text in ["ROUTE", "/hello", "broken.wat"] {
            assert!(written.contains(text), "{text}: {written:?}");
        }
        let (_, after) = written.rsplit_once(LEAVES).expect("it leaves its screen");
        assert!(
            after.contains("\u{1b}[?25h"),
            "the cursor is there: {after:?}"
        );
        assert_eq!(written.contains("\u{1b}[38;5;"), colours, "{written:?}");
    }
}

#[test]
fn another_server_is_not_taken_for_an_admin_listener() {
    let site = site(ANY_PORT);
    let server = Server::with(&site, &[]);
    let addr = server.addr().to_string();
    let output = top(&site, &["--admin", &addr]);
    let told = String::from_utf8_lossy(&output.stderr);
    let line = format!("wasgi: {addr}/status: the answer is 404");
    assert!(
        !output.status.success() && told.starts_with(&line),
        "{told}"
    );
}
