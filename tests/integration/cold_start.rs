//! Servers that listen before their handlers are compiled, and handlers that are slow to compile.

use std::fs;
use std::path::Path;

use crate::support::command::wasgi;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{eventually, guests};

/// The number of locals for which a handler compiles for some seconds. The time grows with the
/// square.
const SECONDS: usize = 6_000;

/// Serves a site with its code cache in `cache`, and doesn't wait for its handlers.
fn serve(site: &Site, cache: &Path, flags: &[&str]) -> Server {
    start("serve", site, cache, flags)
}

fn start(subcommand: &str, site: &Site, cache: &Path, flags: &[&str]) -> Server {
    let mut command = wasgi([subcommand, "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(cache).args(flags).arg(site.path());
    Server::listening(Process::start(&mut command))
}

/// Returns a code cache that contains the handlers of `site`.
fn cache_of(site: &Site) -> tempfile::TempDir {
    let cache = tempfile::tempdir().expect("a folder");
    let server = serve(site, cache.path(), &[]);
    server.access_log().expect(&["all handlers are loaded"]);
    server.stop();
    cache
}

#[test]
fn a_slow_handler_keeps_nobody_from_answering_and_answers_503_until_it_is_loaded() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("cached", "the cached one");
    let cache = cache_of(&site);
    site.write_handler("shop.wat", guests::slow_page("the shop", SECONDS));
    let server = serve(&site, cache.path(), &[]);
    let mut client = server.connect();
    // On a busy machine, the handler may be loaded before the test continues.
    let mut is_loaded = false;
    for method in ["GET", "HEAD", "POST", "GET"] {
        client.request(method, "/shop/basket");
        let response = client.response_to(method);
        is_loaded |= response.status() == 200;
        if !is_loaded {
            assert_eq!(response.status(), 503);
            assert_eq!(response.field("Retry-After"), Some("1"));
            assert_eq!(response.field("Connection"), None, "it is kept open");
            assert_eq!(response.text().is_empty(), method == "HEAD");
        }
        assert_eq!(client.get("/").text(), "the page");
    }
    assert!(!is_loaded, "the handler is not slow enough for this test");
    eventually("what is cached answers", || {
        client.get("/cached").text() == "the cached one"
    });
    let access = server.access_log();
    access.expect(&["/shop ", "shop.wat ", "not loaded yet"]);
    access.expect(&["\"HEAD /shop/basket HTTP/1.1\" 503 ", " shop"]);
    server
        .error_log()
        .expect(&["compiling shop.wat (1 of 1) …"]);

    eventually("the slow one answers", || {
        let response = client.get("/shop");
        assert!(matches!(response.status(), 200 | 503));
        response.status() == 200 && response.text() == "the shop"
    });
    let loaded = server.error_log().expect(&["shop: loaded, serves /shop ("]);
    assert!(loaded.ends_with(" ms)"), "{loaded}");
    access.expect(&["all handlers are loaded"]);
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn slow_files_hold_up_no_others_and_nobody_else_s_route() {
    let site = Site::new().with_page("index.html", "the page");
    for name in ["slow1", "slow2", "slow3"] {
        site.write_handler(&format!("{name}.wat"), guests::slow_page(name, SECONDS));
    }
    let names: Vec<String> = (0..20).map(|number| format!("good{number}")).collect();
    for name in &names {
        site.write_handler(&format!("{name}.wat"), guests::page(name));
    }
    let cache = tempfile::tempdir().expect("a folder");
    let server = serve(&site, cache.path(), &[]);
    for name in &names {
        eventually("it is loaded", || {
            let response = server.get(&format!("/{name}"));
            response.status() == 200 && response.text() == *name
        });
    }
    assert_eq!(server.get("/").text(), "the page");
    server.access_log().expect(&["all handlers are loaded"]);
    for name in ["slow1", "slow2", "slow3"] {
        assert_eq!(server.get(&format!("/{name}")).text(), name);
    }
    server.stop();
}

#[test]
fn a_new_file_answers_503_only_where_nothing_else_answers() {
    let site = Site::new()
        .with_page("shop/index.html", "the page of the shop")
        .with_page_handler("api/[...all]", "everything");
    let cache = cache_of(&site);
    let server = serve(&site, cache.path(), &[]);
    server.access_log().expect(&["all handlers are loaded"]);
    for name in ["shop", "api/new", "other"] {
        let text = guests::slow_page(name, SECONDS);
        site.replace_handler(&format!("{name}.wat"), text);
    }
    let before = [
        ("/shop/", "the page of the shop"),
        ("/api/new", "everything"),
    ];
    eventually("the new one is known", || {
        let status = server.get("/other").status();
        assert!(matches!(status, 404 | 503), "{status}");
        for (target, text) in before {
            assert_eq!(server.get(target).text(), text, "{target}");
        }
        status == 503
    });
    for (name, target) in [
        ("shop", "/shop/"),
        ("api/new", "/api/new"),
        ("other", "/other"),
    ] {
        eventually("the new one answers", || server.get(target).text() == name);
    }
    server.stop();
}

#[test]
fn workers_serve_at_once_and_say_once_that_all_handlers_are_loaded() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "hello");
    let cache = tempfile::tempdir().expect("a folder");
    let flags = ["--processes", "2", "--threads", "1"];
    let server = serve(&site, cache.path(), &flags);
    assert_eq!(server.get("/").text(), "the page");
    server.access_log().expect(&["served by 2 processes"]);
    server.access_log().expect(&["all handlers are loaded"]);
    for _ in 0..20 {
        assert_eq!(server.get("/hello").text(), "hello");
    }
    let ended = server.stop();
    let told = ended.stdout.iter();
    let told = told.filter(|line| line.starts_with("all handlers are loaded"));
    assert_eq!(told.count(), 1, "{}", ended.everything());
}

#[test]
fn what_cannot_be_loaded_is_counted() {
    let site = Site::new().with_page_handler("hello", "hello");
    fs::write(site.handlers().join("broken.wasm"), "prose").expect("written");
    let cache = tempfile::tempdir().expect("a folder");
    let server = serve(&site, cache.path(), &[]);
    let line = server.access_log().expect(&["all handlers are loaded"]);
    assert_eq!(
        line,
        "all handlers are loaded, except 1 that can't be loaded"
    );
    assert_eq!(server.get("/hello").text(), "hello");
    assert_eq!(server.get("/broken").status(), 404);
    server.stop();
}

#[test]
fn code_that_is_compiled_quickly_for_a_developer_is_never_served_to_others() {
    let site = Site::new().with_page_handler("a", "the answer");
    let cache = tempfile::tempdir().expect("a folder");
    let entries_after = |subcommand| {
        let server = start(subcommand, &site, cache.path(), &[]);
        server.access_log().expect(&["all handlers are loaded"]);
        assert_eq!(server.get("/a").text(), "the answer", "{subcommand}");
        server.stop();
        let entries = fs::read_dir(cache.path()).expect("a folder").flatten();
        let mut sizes: Vec<u64> = entries
            .map(|entry| entry.metadata().expect("a file").len())
            .collect();
        sizes.sort_unstable();
        sizes
    };
    let [quick] = entries_after("dev")[..] else {
        panic!("one entry")
    };
    let both = entries_after("serve");
    assert!(
        both.len() == 2 && both[0] < quick && both[1] == quick,
        "optimised code is shorter: {both:?}"
    );
    // What is optimised already is not compiled once more.
    fs::remove_dir_all(cache.path()).expect("removed");
    let optimised = entries_after("serve");
    assert_eq!(entries_after("dev"), optimised);
}
