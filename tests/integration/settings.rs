//! `wasgi.toml`: the server follows the configuration, also when it changes.

use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::client::{Client, Ending};
use crate::support::command::run;
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;

const PAGE: &[u8] = b"<p>here</p>";

/// Creates a site with a page and a configuration.
fn site(settings: &str) -> Site {
    let site = Site::new().with_page("page.html", PAGE);
    write(&site, settings);
    site
}

/// Replaces the configuration atomically.
fn write(site: &Site, settings: &str) {
    let aside = site.path().join("aside.toml");
    fs::write(&aside, settings).expect("written");
    fs::rename(aside, site.path().join("wasgi.toml")).expect("renamed");
}

#[test]
fn a_changed_file_takes_effect_and_a_broken_one_does_not() {
    let site = site("[server]\nserver-field = false\n");
    let server = Server::new(&site);
    let mut old = server.connect();
    assert_eq!(old.get("/page.html").head.field("Server"), None);

    write(
        &site,
        "[server]\nserver-field = true\naccess-log = false\n[budget]\nmemory = \"64MiB\"\n",
    );
    server.error_log().expect(&[
        "wasgi.toml: applied: server.access-log, server.server-field; needs a restart: \
         budget.memory",
    ]);
    eventually("the field is there", || {
        old.get("/page.html").head.field("Server").is_some()
    });

    write(&site, "[server]\nserver-feild = false\n");
    server.error_log().expect(&[
        "wasgi.toml:2: server.server-feild: unknown key; did you mean server.server-field?",
        "the settings are unchanged",
    ]);
    assert!(old.get("/page.html").head.field("Server").is_some());

    write(&site, "");
    server
        .error_log()
        .find(|line| line.ends_with("applied: server.access-log"))
        .expect("it is taken over");
    old.get("/page.html?logged");
    server.access_log().expect(&["/page.html?logged"]);
    let ended = server.stop();
    assert!(!ended.everything().contains("reactor has failed"));
}

#[test]
fn sighup_has_the_file_read_and_ends_nothing() {
    let site = site("");
    let server = Server::new(&site);
    server.signal(Signal::HUP);
    server.error_log().expect(&["wasgi.toml: no changes"]);
    assert_eq!(server.get("/page.html").head.status, 200);
    server.stop();
}

#[test]
fn a_broken_file_at_the_start_is_one_line() {
    let site = site("[limits]\nbody = \"64MB\"\n");
    let folder = site.path().to_str().expect("a name");
    for command in ["serve", "config", "routes"] {
        let ended = run([command, folder]);
        assert!(!ended.status.success());
        ended.expect_stderr(&["wasgi.toml:2: limits.body: expected a size with a unit"]);
    }
}

#[test]
fn an_address_at_its_limit_gets_503_and_places_come_back() {
    let site = site("[limits]\nconnections-per-address = 2\n");
    let server = Server::with(&site, &["--threads", "2"]);
    let mut clients: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/page.html").head.status, 200);
    }

    // The client is rejected before it sends a request.
    let mut third = server.connect();
    let refusal = third.response();
    assert_eq!(refusal.head.status, 503);
    for name in [
        "Date",
        "Server",
        "Retry-After",
        "Content-Type",
        "Content-Length",
    ] {
        assert!(refusal.head.field(name).is_some(), "{name}");
    }
    assert_eq!(refusal.head.field("Connection"), Some("close"));
    assert_eq!(third.ending(), Ending::Closed);
    drop(third);
    server
        .error_log()
        .expect(&["too many connections", "127.0.0.1"]);
    server.access_log().expect(&["\"-\" 503"]);

    for client in &mut clients {
        assert_eq!(
            client.get("/page.html").head.status,
            200,
            "those that are in stay in"
        );
    }
    drop(clients);
    eventually("there is a place again", || {
        let mut client = server.connect();
        client.request("GET", "/page.html");
        client
            .try_response_to("GET")
            .is_ok_and(|response| response.head.status == 200)
    });
    server.stop();
}

#[test]
fn one_connection_over_the_total_is_closed_without_a_word() {
    let site = site("[limits]\nconnections = 1\n");
    let server = Server::new(&site);
    let mut first = server.connect();
    assert_eq!(first.get("/page.html").head.status, 200);
    assert_eq!(server.connect().ending(), Ending::Closed);
    assert_eq!(first.get("/page.html").head.status, 200);
    server.stop();
}

#[test]
fn a_request_that_takes_too_long_ends_whatever_it_waits_for() {
    let site = site("[limits]\nrequest-timeout = \"300ms\"\n").with_cases(["read-all"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.send("POST /read-all HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nnot");
    let response = client.response();
    assert_eq!(response.head.status, 408);
    assert_eq!(response.head.field("Connection"), Some("close"));
    assert_eq!(client.ending(), Ending::Closed);
    server.stop();
}

#[test]
fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let settings = "[limits]\nwrite-timeout = \"300ms\"\n";
    // Exceeds the buffers of two sockets.
    let site = site(settings).with_page("large.bin", vec![b'x'; 64 << 20]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", "/large.bin");
    assert_eq!(client.head().status, 200);
    server
        .access_log()
        .expect(&["/large.bin", "the client reads too slowly"]);
    let (body, _) = client.rest();
    assert!(body.len() < 64 << 20);
    server.stop();
}

/// The kernel reports that its buffer has room when a third of it is free. This client needs longer
/// for that than the write timeout, which applies to clients that receive nothing.
#[test]
fn a_client_that_takes_its_answer_slowly_is_not_cut_off() {
    let settings = "[limits]\nwrite-timeout = \"1s\"\n";
    let site = site(settings).with_page("large.bin", vec![b'x'; 16 << 20]);
    let server = Server::new(&site);
    let mut client = server.connect();
    client.request("GET", "/large.bin");
    assert_eq!(client.head().status, 200);
    let mut stream = client.stream();
    let mut taken = 0;
    let mut piece = [0; 8192];
    for _ in 0..100 {
        taken += stream.read(&mut piece).expect("it goes on");
        thread::sleep(Duration::from_millis(25));
    }
    client.finish_sending();
    let (rest, ending) = client.rest();
    assert_eq!((taken + rest.len(), ending), (16 << 20, Ending::Closed));
    server.stop();
}

#[test]
fn what_config_prints_is_what_is_in_force() {
    let site = site("[limits]\nconnections = 5\n");
    let folder = site.path().to_str().expect("a name");
    let ended = run([
        "config",
        folder,
        "--max-cpu-time",
        "1.5",
        "--no-server-field",
    ]);
    assert!(ended.status.success(), "{}", ended.everything());
    let printed = ended.stdout.join("\n") + "\n";
    for line in [
        "connections = 5 # file, line 2",
        "cpu-time = \"1500ms\" # flag --max-cpu-time",
        "server-field = false # flag --no-server-field",
        "wall-time = \"30s\" # default",
    ] {
        assert!(printed.contains(line), "{line}\n{printed}");
    }
    let elsewhere = site.path().join("printed.toml");
    fs::write(&elsewhere, &printed).expect("written");
    let file = elsewhere.to_str().expect("a name");
    let again = run(["config", "--config", file]);
    assert!(again.status.success(), "{}", again.everything());
    let values = |text: &str| -> Vec<String> {
        let lines = text
            .lines()
            .map(|line| line.split(" # ").next().unwrap_or_default());
        lines.map(str::to_owned).collect()
    };
    assert_eq!(values(&(again.stdout.join("\n") + "\n")), values(&printed));
}

#[test]
fn settings_of_a_handler_that_is_not_there_are_told_at_the_start_and_when_they_change() {
    let settings = "[handlers.helo]\nreuse = 2\n[handlers.hello]\nreuse = 2\n[handlers.\"*\"]\n";
    let site = site(settings).with_page_handler("hello", "the handler");
    let said = [
        "WARN",
        "handlers.helo: no such handler",
        "did you mean handlers.hello?",
    ];
    for flags in [&[][..], &["--processes", "2"]] {
        write(&site, settings);
        let server = Server::with(&site, flags);
        server.error_log().expect(&said);
        write(&site, "[handlers.qqq]\nreuse = 3\n");
        let changed = ["WARN", "handlers.qqq: no such handler"];
        server.error_log().expect(&changed);
        let ended = server.stop();
        assert_eq!(ended.stderr_with(&said), 1, "{}", ended.everything());
        assert_eq!(ended.stderr_with(&changed), 1, "{}", ended.everything());
        assert_eq!(ended.stderr_with(&["handlers.hello: no such"]), 0);
    }
    let path = site.path().to_str().expect("text");
    let routes = run(["routes", "--code-cache", "none", path]);
    routes.expect_stderr(&["handlers.qqq: no such handler"]);
}
