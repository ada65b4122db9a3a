//! The total memory of all instances, which never exceeds its limit.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::guests;
use crate::support::server::Server;
use crate::support::site::Site;

/// The number of simultaneous requests: far more than there is memory for.
const REQUESTS: usize = 24;

/// The memory that each request allocates and fills, in MiB.
const HELD_MIB: u64 = 100;

/// The limit for all instances, in MiB: enough for three.
const LIMIT_MIB: u64 = 350;

fn site(more: &str) -> Site {
    let site = Site::new()
        .with_cases(["memory", "counter"])
        .with_page("index.html", "a page");
    let settings = format!("[limits]\nmemory = \"{LIMIT_MIB}MiB\"\n{more}");
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    site
}

/// Starts `count` requests that hold their memory and wait for the end of their bodies.
fn hold(server: &Server, count: usize, end: &str) -> Vec<Client> {
    let clients = (0..count).map(|_| {
        let mut client = server.connect();
        client.begin_post(&format!("/memory?hold={HELD_MIB}{end}"), 1);
        client
    });
    clients.collect()
}

/// Checks that three requests can hold their memory, which means that all earlier memory has been
/// released.
#[track_caller]
fn expect_room_for_three(server: &Server, after: &str) {
    eventually(after, || {
        let mut clients = hold(server, 3, "");
        clients.iter_mut().for_each(|client| client.send("x"));
        let mut statuses = clients.iter_mut().map(|client| client.response().status());
        statuses.all(|status| status == 200)
    });
}

#[test]
fn requests_beyond_the_total_are_turned_away_and_all_else_goes_on() {
    let site = site("");
    let server = Server::new(&site);
    let before = server.resident_bytes();
    let mut clients = hold(&server, REQUESTS, "");
    // Requests without memory are rejected, whether or not their bodies have arrived.
    let mut turned_away = Vec::new();
    eventually("most are turned away", || {
        clients.retain_mut(|client| {
            let is_quiet = client.is_quiet();
            if !is_quiet {
                turned_away.push(client.response());
            }
            is_quiet
        });
        clients.len() <= 3
    });
    for response in &turned_away {
        assert_eq!(response.status(), 503);
        assert_eq!(response.field("Retry-After"), Some("1"));
    }
    assert_eq!(clients.len(), 3, "as many as there is memory for");
    assert_eq!(server.get("/").text(), "a page");
    assert_eq!(server.get("/counter").text(), "1", "a small one finds room");
    let taken = server.resident_bytes().saturating_sub(before);
    assert!(taken < (LIMIT_MIB + 100) << 20, "{} MiB", taken >> 20);
    for client in &mut clients {
        client.send("x");
        let response = client.response();
        assert_eq!((response.status(), response.text()), (200, "100 MiB"));
    }
    server.error_log().expect(&["memory: ", "limits.memory"]);
    expect_room_for_three(&server, "all is given back");
    server.stop();
}

#[test]
fn a_body_that_a_handler_has_no_memory_for_is_a_413_that_names_the_limit() {
    let site = Site::new().with_cases(["memory"]);
    let settings = "[budget]\nmemory = \"16MiB\"\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::new(&site);
    let body = vec![b'x'; 24 << 20];
    // Whether it traps, raises, or makes the answer itself that a framework makes of an exception.
    for end in ["trap", "fail", "500"] {
        let mut client = server.connect();
        let refused = client.post(&format!("/memory?keep={end}"), &body);
        assert_eq!(refused.status(), 413, "{end}");
        assert!(
            refused.text().contains("budget.memory is 16 MiB"),
            "{end}: {}",
            refused.text()
        );
    }
    let log = server.error_log();
    log.expect(&[
        "POST /memory",
        "ran out of memory after",
        "budget.memory",
        "it ran out",
    ]);
    log.expect(&[
        "ran out of memory after",
        "budget.memory",
        "it raised",
        "no memory",
    ]);
    log.expect(&[
        "ran out of memory after",
        "budget.memory",
        "answered with status 500",
    ]);
    // The handler's own response is sent unchanged.
    let mut client = server.connect();
    let own = client.post("/memory?keep=507", &body);
    assert_eq!((own.status(), own.text()), (507, "no memory"));
    // A body that fits is accepted, and so is a longer one that is not kept.
    let mut client = server.connect();
    let kept = client.post("/memory?keep=trap", &body[..2 << 20]);
    assert_eq!((kept.status(), kept.text()), (200, "2097152 bytes"));
    // The body is short compared to the memory, so it isn't the reason for the lack of memory.
    let failed = client.post("/memory?count", &body[..64 << 10]);
    assert_eq!(failed.status(), 500);
    server.stop();
}

#[test]
fn all_is_given_back_however_a_request_ends() {
    // Of CPU time, so that a request is only cut off for what it computes, however busy the machine
    // is.
    let site = site("[handlers.memory]\ncpu-time = \"2s\"\n");
    let server = Server::new(&site);
    for _ in 0..3 {
        // The handler traps.
        for mut client in hold(&server, 3, "&end=trap") {
            client.send("x");
            assert!([500, 503].contains(&client.response().status()));
        }
        // The client disconnects.
        drop(hold(&server, 3, ""));
        expect_room_for_three(&server, "what clients left behind is given back");
        // The handler exceeds its own budget.
        assert!([500, 503].contains(&server.get("/memory").status()));
    }
    // The handler exceeds its time.
    let mut clients = hold(&server, 3, "&end=spin");
    // None of them waits for its body while another computes.
    clients.iter_mut().for_each(|client| client.send("x"));
    for client in &mut clients {
        let response = client.response();
        let is_cut_off = [503, 504].contains(&response.status());
        assert!(is_cut_off, "{} {}", response.status(), response.text());
    }
    expect_room_for_three(&server, "what was cut off is given back");
    server.stop();
}

#[test]
fn instances_that_wait_for_another_request_go_first() {
    let site = site("[handlers.\"*\"]\nreuse = 1000\n");
    site.install("other.wasm", &guests::case("memory"));
    let server = Server::new(&site);
    // The idle instances have grown to 60 MiB each, which is below the size at which they would be
    // replaced as leaking. The other handler gets their memory when it grows.
    for handler in ["memory", "other", "memory", "other"] {
        let mut clients: Vec<Client> = (0..5).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.begin_post(&format!("/{handler}?hold=60"), 1);
        }
        clients.iter_mut().for_each(|client| client.send("x"));
        for client in &mut clients {
            let response = client.response();
            assert_eq!((response.status(), response.text()), (200, "60 MiB"));
        }
    }
    assert!(!server.stop().has_complaints());
}

#[test]
fn the_limit_is_live() {
    let site = site("");
    let server = Server::new(&site);
    expect_room_for_three(&server, "there is room");
    let settings = "[limits]\nmemory = \"150MiB\"\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    server.error_log().expect(&["applied: limits.memory"]);
    let mut first = hold(&server, 1, "");
    eventually("the second is turned away", || {
        let mut second = hold(&server, 1, "");
        second[0].send("x");
        let is_refused = second[0].response().status() == 503;
        if !is_refused {
            // The first request was rejected while the memory of earlier ones was being released.
            first = hold(&server, 1, "");
        }
        is_refused
    });
    first[0].send("x");
    assert_eq!(first[0].response().status(), 200);
    server.stop();
}
