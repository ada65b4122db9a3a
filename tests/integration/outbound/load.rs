//! Many requests that wait for a slow upstream.

use std::thread;

use super::{ask, site_with};
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::upstream::Upstream;

#[test]
fn a_thousand_requests_wait_for_an_upstream_at_a_time_and_pages_are_served_meanwhile() {
    const REQUESTS: usize = 1000;
    let upstream = Upstream::start();
    let site = site_with(&upstream).with_page("page.html", "a page");
    let server = Server::with(&site, &["--max-connections-per-address", "2000"]);
    let query = format!("fetch={}", upstream.url("/second"));
    // The overflow pool exists before all of them need it.
    assert_eq!(ask(&server, "outbound", &query), "200 a second later");
    thread::scope(|scope| {
        let clients: Vec<_> = (0..REQUESTS)
            .map(|_| {
                let (server, query) = (&server, &query);
                let client = thread::Builder::new().stack_size(256 * 1024);
                let ask = move || ask(server, "outbound", query);
                client.spawn_scoped(scope, ask).expect("a thread")
            })
            .collect();
        eventually("many wait", || upstream.waiting() > 100);
        for _ in 0..10 {
            assert_eq!(server.get("/page.html").text(), "a page");
        }
        for client in clients {
            let told = client.join().expect("no panic");
            assert_eq!(told, "200 a second later");
        }
    });
    assert_eq!(upstream.requests(), REQUESTS + 1);
}
