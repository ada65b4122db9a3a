//! Generated hostile files, one of each kind. `cargo xtask hostile` drops hundreds of them into a
//! release build and measures.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::eventually;
use crate::support::generator::{Generated, Generator};
use crate::support::guests;
use crate::support::server::Server;
use crate::support::site::Site;

/// The seed of the files. Any number works.
const SEED: u64 = 12;

/// Low limits, which the files reach quickly.
const LIMITS: &str = "[compile]\naddress-space = \"768MiB\"\ncpu-time = \"3s\"\n\
                      [budget]\ncpu-time = \"200ms\"\nwall-time = \"1s\"\n";

fn files() -> Vec<Generated> {
    let valid = ["hello", "echo", "stream"].map(|route| {
        let file = guests::demo(route);
        fs::read(file).expect("the handler can be read")
    });
    Generator::new(SEED, valid.into())
        .take(Generator::kinds())
        .collect()
}

fn serve(site: &Site) -> Server {
    let cache = site.path().join("code");
    Server::with(site, &["--code-cache", cache.to_str().expect("text")])
}

/// Sets a flag when it is dropped, also when an assertion fails, so that the thread that polls the
/// flag ends.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn expect_service(server: &Server) {
    assert_eq!(server.get("/").text(), "the page");
    eventually("the good handler answers", || {
        server.get("/good").status() == 200
    });
    assert_eq!(server.get("/good").text(), "the handler");
}

#[test]
fn one_hostile_file_of_each_kind_stops_nothing_else() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("good", "the handler");
    fs::write(site.path().join("wasgi.toml"), LIMITS).expect("written");
    let mut server = serve(&site);
    expect_service(&server);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let asked = scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                // A slow machine would reach the maximum number of requests per connection.
                let mut client = server.connect();
                for _ in 0..100 {
                    assert_eq!(client.get("/").text(), "the page");
                    assert_eq!(client.get("/good").text(), "the handler");
                }
            }
        });
        let end = Ends(&ends);
        let files = files();
        for file in &files {
            site.replace_handler(&file.file, &file.bytes);
        }
        for file in &files {
            let target = format!("/{}", file.route);
            let what = format!("{target} is loaded or turned down");
            eventually(&what, || {
                let mut client = server.connect();
                client.request("GET", &target);
                // If a hostile file is a valid handler, its response doesn't matter.
                client
                    .try_response_to("GET")
                    .map_or(true, |answer| answer.status() != 503)
            });
            assert!(!asked.is_finished(), "the good ones are answered");
        }
        drop(end);
        asked.join().expect("all was answered");
    });
    assert!(!server.has_ended());
    expect_service(&server);
    server.stop();
    let server = serve(&site);
    expect_service(&server);
    server.stop();
}
