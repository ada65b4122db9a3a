//! A client that asks for a lot gets its turn, and no more than its turn.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::client::request;
use crate::support::server::Server;
use crate::support::site::Site;

/// Requests that the flood has in one packet, more than one turn answers.
const BURST: usize = 400;

/// Answers that the measuring client waits for.
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
    // The flood is answered too: all of it, in order, to its end.
    assert!(
        flooded >= BURST && flooded.is_multiple_of(BURST),
        "{flooded}"
    );
    server.stop();
}
