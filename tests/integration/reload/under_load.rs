//! Handlers that change while they serve requests, and in quick succession.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{expect_missing, expect_text};
use crate::support::client::Ending;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{eventually, guests};

#[test]
fn a_request_in_flight_finishes_on_the_version_it_began_with() {
    let site = Site::new().with_demos(["echo"]);
    let server = Server::new(&site);
    for replaced in [true, false] {
        let mut client = server.connect();
        client.send("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("4\r\nhalf\r\n");
        assert_eq!(client.head().status, 200);
        assert_eq!(client.chunk(), b"half");

        if replaced {
            site.replace_handler("echo.wasm", guests::page("the next version"));
            expect_text(&server, "/echo", "the next version");
        } else {
            fs::remove_file(site.handlers().join("echo.wasm")).expect("removed");
            expect_missing(&server, "/echo");
        }

        client.send("4\r\nrest\r\n0\r\n\r\n");
        assert_eq!(client.chunk(), b"rest");
        assert_eq!(client.chunk(), b"");
        if replaced {
            let next = client.get("/echo");
            assert_eq!(
                next.text(),
                "the next version",
                "the same client's next request"
            );
            site.install("echo.wasm", &guests::demo("echo"));
            eventually("the first version is back", || {
                server.get("/echo").text() != "the next version"
            });
        } else {
            assert_eq!(client.get("/echo").status(), 404);
        }
    }
    server.stop();
}

#[test]
fn fifty_replacements_under_load_are_never_seen() {
    const VERSIONS: u32 = 50;
    let page = |version: u32| format!("version {version}\n").repeat(500);
    let site = Site::new().with_page_handler("page", &page(0));
    let server = Server::new(&site);
    let done = AtomicBool::new(false);
    let load = || {
        let mut client = server.connect();
        let (mut last, mut count) = (0, 0);
        while !done.load(Ordering::Relaxed) {
            let response = client.get("/page");
            assert_eq!(response.status(), 200);
            let text = response.text();
            let first = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("version "));
            let version: u32 = first.and_then(|n| n.parse().ok()).expect("a version");
            assert!(
                text == page(version),
                "a mixture that begins with {version}"
            );
            assert!(version >= last, "{version} after {last}");
            last = version;
            count += 1;
        }
        count
    };
    let requests: u32 = thread::scope(|scope| {
        let loads: Vec<_> = (0..4).map(|_| scope.spawn(load)).collect();
        for version in 1..=VERSIONS {
            site.replace_handler("page.wat", guests::page(&page(version)));
            // Some follow each other quickly; for some the previous version is served first.
            if version % 5 == 0 {
                expect_text(&server, "/page", &page(version));
            }
        }
        done.store(true, Ordering::Relaxed);
        loads
            .into_iter()
            .map(|load| load.join().expect("no failure"))
            .sum()
    });
    assert!(requests > 100, "there was a load: {requests}");
    assert_eq!(server.get("/page").text(), page(VERSIONS));
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn replaced_versions_are_given_back() {
    let site = Site::new().with_page_handler("page", "0");
    // An idle thread keeps the last version that it served until it serves again.
    let server = Server::with(&site, &["--threads", "1"]);
    expect_text(&server, "/page", "0");
    let before = server.standing_descriptors();
    for version in 1..=20 {
        site.replace_handler("page.wat", guests::page(&version.to_string()));
        expect_text(&server, "/page", &version.to_string());
    }
    eventually("what was opened is closed", || {
        server.descriptors() <= before
    });
    server.stop();
}

#[test]
fn a_client_that_holds_an_old_connection_sees_the_new_version() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::new(&site);
    let mut client = server.connect();
    assert_eq!(client.get("/page").text(), "one");
    site.replace_handler("page.wat", guests::page("two"));
    expect_text(&server, "/page", "two");
    assert_eq!(client.get("/page").text(), "two");
    client.finish_sending();
    assert_eq!(client.ending(), Ending::Closed);
    server.stop();
}

#[test]
fn a_hundred_replacements_end_with_the_last() {
    let site = Site::new().with_page_handler("page", "0");
    let server = Server::new(&site);
    for version in 1..=100 {
        site.replace_handler("page.wat", guests::page(&version.to_string()));
    }
    expect_text(&server, "/page", "100");
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn a_hundred_rewrites_end_with_the_last() {
    let site = Site::new().with_page_handler("page", "0");
    let server = Server::new(&site);
    for version in 1..=100 {
        site.write_handler("page.wat", guests::page(&version.to_string()));
    }
    expect_text(&server, "/page", "100");
    // Some of the versions in between may have been found incomplete, and logged.
    server.stop();
}

#[test]
fn a_storm_of_events_hides_nothing() {
    let site = Site::new().with_page_handler("page", "0");
    let server = Server::new(&site);
    for number in 0..4000 {
        // Five events each; the kernel's queue holds about 16,000.
        site.write_page("storm.html", number.to_string());
        site.write_handler("_storm.wat", number.to_string());
        if number == 2000 {
            site.write_handler("new.wat", guests::page("new"));
            site.write_handler("page.wat", guests::page("1"));
        }
    }
    expect_text(&server, "/new", "new");
    expect_text(&server, "/page", "1");
    assert_eq!(server.get("/storm.html").text(), "3999");
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}
