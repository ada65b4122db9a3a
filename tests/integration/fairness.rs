//! Fair scheduling: neither a client that sends many requests nor a request that computes delays
//! the others without bound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::client::request;
use crate::support::server::Server;
use crate::support::site::Site;

/// The number of requests that the flood sends in one packet: more than the server answers in one
/// turn.
const BURST: usize = 400;

/// The number of responses that the measuring client waits for.
const MEASURED: usize = 100;

#[test]
fn a_flood_of_pipelined_requests_does_not_shut_out_a_neighbour() {
    let site = Site::new().with_page("page.txt", "a page");
    let server = Server::with(&site, &["--threads", "1"]);
    let over = AtomicBool::new(false);
    let flooded = thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let mut client = server.connect();
            let burst = request("GET", "/page.txt").repeat(BURST);
            let mut answered = 0;
            while !over.load(Ordering::Relaxed) {
                client.send(&burst);
                for _ in 0..BURST {
                    assert_eq!(client.response().status(), 200);
                    answered += 1;
                }
            }
            answered
        });
        let mut client = server.connect();
        for _ in 0..MEASURED {
            assert_eq!(client.get("/page.txt").status(), 200);
        }
        over.store(true, Ordering::Relaxed);
        flood.join().expect("the flood ends")
    });
    // The flood is answered too: completely and in order.
    assert!(
        flooded >= BURST && flooded.is_multiple_of(BURST),
        "{flooded}"
    );
    server.stop();
}

#[test]
fn nobody_waits_to_the_end_of_an_endless_request_to_the_same_handler() {
    let site = Site::new().with_cases(["counter"]);
    let server = Server::with(&site, &["--threads", "1", "--max-cpu-time", "3s"]);
    let short_is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut endless = server.connect();
        endless.send(request("GET", "/counter?forever"));
        let short_is_done = &short_is_done;
        let end = scope.spawn(move || {
            let status = endless.response().status();
            (status, short_is_done.load(Ordering::Relaxed))
        });
        for _ in 0..10 {
            assert_eq!(server.get("/counter").text(), "1");
        }
        short_is_done.store(true, Ordering::Relaxed);
        let (status, after_the_short) = end.join().expect("it ends");
        assert_eq!(status, 504);
        assert!(after_the_short, "the short ones waited for the endless one");
    });
    server.stop();
}

#[test]
fn a_client_that_leaves_before_its_request_began_takes_nobodys_turn() {
    let site = Site::new().with_cases(["counter"]);
    let settings = "[handlers.counter]\nreuse = 1000\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::with(&site, &["--threads", "1"]);
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(request("GET", "/counter?compute"));
    }
    let mut last = clients.pop().expect("there are some");
    drop(clients);
    assert_eq!(last.response().status(), 200);
    assert_eq!(server.get("/counter").status(), 200);
    server.stop();
}

#[test]
fn a_request_to_another_handler_does_not_wait_for_all_requests_that_came_before_it() {
    const REQUESTS: usize = 200;
    let site = Site::new().with_demos(["hello"]).with_cases(["counter"]);
    let flags = ["--threads", "1", "--max-connections-per-address", "400"];
    let server = Server::with(&site, &flags);
    let connect = |_| {
        let mut client = server.connect();
        assert_eq!(client.get("/counter").status(), 200);
        client
    };
    let mut clients: Vec<_> = (0..=REQUESTS).map(connect).collect();
    // All of them arrive while the server can't run, in this order.
    server.signal(Signal::STOP);
    let (last, many) = clients.split_last_mut().expect("there are some");
    for client in &mut *many {
        client.send(request("GET", "/hello?many"));
    }
    last.send(request("GET", "/counter?last"));
    server.signal(Signal::CONT);
    assert_eq!(last.response().status(), 200);
    for client in many {
        assert_eq!(client.response().status(), 200);
    }
    // One thread logs the requests in the order of their responses.
    let ended = server.stop();
    let place = |target: &str| ended.stdout.iter().rposition(|line| line.contains(target));
    let (last, many) = (place("/counter?last"), place("/hello?many"));
    assert!(last.is_some() && last < many, "{last:?} of {many:?}");
}
