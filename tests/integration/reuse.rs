//! Instances that serve several requests, as the configuration permits.

use crate::support::client::request;
use crate::support::server::Server;
use crate::support::site::Site;

/// The number of requests that are sent before the first is answered.
const AT_ONCE: usize = 16;

/// Creates a site with handlers whose instances serve three requests, and one whose instances serve
/// one.
fn site() -> Site {
    let site = Site::new().with_cases(["counter", "variables"]);
    let counter = crate::support::guests::case("counter");
    site.install("fresh.wasm", &counter);
    let settings = "[handlers.\"*\"]\nreuse = 3\n[handlers.fresh]\nreuse = 1\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    site
}

#[test]
fn an_instance_serves_as_many_requests_as_it_may() {
    let site = site();
    let server = Server::with(&site, &["--threads", "1"]);
    let mut client = server.connect();
    let counts: Vec<String> = (0..7)
        .map(|_| client.get("/counter").text().trim().to_owned())
        .collect();
    assert_eq!(counts, ["1", "2", "3", "1", "2", "3", "1"]);
    for _ in 0..3 {
        assert_eq!(client.get("/fresh").text().trim(), "1");
    }
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn the_environ_tells_whether_an_instance_may_serve_again() {
    let site = site();
    let server = Server::new(&site);
    assert!(
        server
            .get("/variables")
            .text()
            .contains("wsgi.run_once=false"),
        "{}",
        server.get("/variables").text()
    );
    server.stop();
}

#[test]
fn an_instance_that_failed_serves_no_more() {
    let site = site();
    let server = Server::with(&site, &["--threads", "1"]);
    for how in ["panic", "raise"] {
        assert_eq!(server.get("/counter").text().trim(), "1");
        assert_eq!(server.get(&format!("/counter?{how}")).status(), 500);
        assert_eq!(server.get("/counter").text().trim(), "1", "{how}");
        assert_eq!(server.get("/counter").text().trim(), "2");
        assert_eq!(server.get("/counter").text().trim(), "3");
    }
    server.stop();
}

#[test]
fn an_instance_that_leaks_is_replaced_before_it_is_full() {
    let site = Site::new().with_cases(["counter"]);
    let settings = "[handlers.counter]\nreuse = 1000\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::with(&site, &["--threads", "1", "--max-memory", "8"]);
    let mut client = server.connect();
    let counts: Vec<u32> = (0..20)
        .map(|_| {
            let response = client.get("/counter?leak");
            assert_eq!(response.status(), 200);
            response.text().trim().parse().expect("a number")
        })
        .collect();
    // Each instance served more than one request, but not so many that it ran out of memory.
    assert!(counts.contains(&2), "{counts:?}");
    assert!(counts.iter().all(|count| *count < 8), "{counts:?}");
    server.stop();
}

#[test]
fn a_request_uses_nothing_of_the_one_before() {
    let site = site();
    let server = Server::with(&site, &["--threads", "1"]);
    let mut client = server.connect();
    assert_eq!(client.get("/counter?keep").text().trim(), "1");
    // The environ that was kept doesn't give access to the new request.
    assert_eq!(client.get("/counter?kept").status(), 500);
    server
        .error_log()
        .expect(&["counter", "used after the end of its request"]);
    assert_eq!(client.get("/counter").text().trim(), "1");
    server.stop();
}

#[test]
fn a_new_version_is_served_by_instances_of_its_own() {
    let site = site();
    let server = Server::with(&site, &["--threads", "1"]);
    assert_eq!(server.get("/counter").text().trim(), "1");
    let page = crate::support::guests::page("another version");
    site.replace_handler("counter.wasm", page);
    crate::support::eventually("the new version answers", || {
        server.get("/counter").text().contains("another version")
    });
    server.stop();
}

#[test]
fn many_at_once_have_an_instance_each() {
    let site = site();
    let server = Server::with(&site, &["--threads", "2"]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..50 {
                    let count = client.get("/counter").text().trim().to_owned();
                    assert!(["1", "2", "3"].contains(&&*count), "{count}");
                }
            });
        }
    });
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn those_that_compute_go_through_one_instance() {
    let site = Site::new().with_cases(["counter"]);
    let settings = "[handlers.counter]\nreuse = 1000\n";
    std::fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::with(&site, &["--threads", "1"]);
    let mut clients: Vec<_> = (0..AT_ONCE).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(request("GET", "/counter?compute"));
    }
    let mut counts: Vec<usize> = Vec::new();
    for client in &mut clients {
        counts.push(client.response().text().parse().expect("a number"));
    }
    counts.sort_unstable();
    assert_eq!(counts, Vec::from_iter(1..=AT_ONCE));
    server.stop();
}
