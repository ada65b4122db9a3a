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
fn memory_of_many_requests_at_once_returns_to_the_system() {
    const REQUESTS: usize = 600;
    const BODY: &[u8] = b"the end";
    raise_descriptor_limit();
    let site = Site::new().with_cases(["memory"]);
    let server = Server::with(&site, &["--max-wall-time", "300"]);
    assert_eq!(server.get("/memory?hold=1").status(), 200);
    let before = server.resident_bytes();
    let mut clients: Vec<Client> = (0..REQUESTS).map(|_| server.connect()).collect();
    let head = format!(
        "POST /memory?hold=1 HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    for client in &mut clients {
        client.send(&head);
    }
    let all = REQUESTS as u64 * (1 << 20);
    eventually("all requests have their memory", || {
        server.resident_bytes() > before + all
    });
    for client in &mut clients {
        client.send(BODY);
    }
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    // Each of the 224 instances of the first pools keeps up to 0.5 MiB, and the others little.
    eventually("most of it is free", || {
        server.resident_bytes() < before + 224 * (512 << 10) + all / 8
    });
    server.stop();
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
