//! Large numbers of connections and requests at the same time.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;

/// The number of idle connections.
const IDLE: usize = 1000;

/// The number of requests that sleep at the same time.
const SLEEPERS: usize = 2000;

/// Raises the limit of open descriptors: each connection needs one in the test and one in the
/// server.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("the limit can be raised");
}

#[test]
fn a_thousand_idle_connections_are_held_and_then_each_answers() {
    raise_descriptor_limit();
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_demos(["hello"]);
    let server = Server::with(&site, &["--idle-timeout", "3600"]);
    let descriptors = server.standing_descriptors();
    let mut clients: Vec<Client> = (0..IDLE).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "the page");
    }
    let hello = server.get("/hello").body;
    for client in &mut clients {
        assert_eq!(client.get("/hello").body, hello);
    }
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "the page");
    }
    drop(clients);
    eventually("their descriptors are closed", || {
        server.descriptors() <= descriptors
    });
    server.stop();
}

#[test]
fn two_thousand_sleepers_are_all_answered() {
    raise_descriptor_limit();
    let site = Site::new().with_demos(["sleep"]);
    let server = Server::with(&site, &["--max-wall-time", "60"]);
    // The overflow pool is created on demand, and the requests that arrive before it exists wait
    // for it.
    assert_eq!(server.get("/sleep?ms=1").status(), 200);
    assert!(!server.has_thread("wasgi-overflow"));
    let mut clients: Vec<Client> = (0..SLEEPERS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.request("GET", "/sleep?ms=1000");
    }
    for client in &mut clients {
        let response = client.response();
        assert_eq!(
            (response.status(), response.text()),
            (200, "slept for 1000 ms\n")
        );
    }
    assert!(server.has_thread("wasgi-overflow"));
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_demos(["hello"]);
    let server = Server::new(&site);
    server.get("/hello");
    let descriptors = server.standing_descriptors();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..250 {
                    let target = if number % 2 == 0 { "/" } else { "/hello" };
                    assert_eq!(server.get(target).status(), 200);
                }
            });
        }
    });
    eventually("their descriptors are closed", || {
        server.descriptors() <= descriptors
    });
    server.stop();
}
