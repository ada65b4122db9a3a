//! What is in the folders is what is served.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::client::Ending;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{eventually, guests};

/// Waits until `/route` answers with `text`.
#[track_caller]
fn expect_text(server: &Server, target: &str, text: &str) {
    eventually(&format!("{target} answers {text:?}"), || {
        let response = server.get(target);
        response.status() == 200 && response.text() == text
    });
}

#[track_caller]
fn expect_missing(server: &Server, target: &str) {
    eventually(&format!("{target} is gone"), || {
        server.get(target).status() == 404
    });
}

#[test]
fn a_new_file_is_served() {
    let site = Site::new();
    let server = Server::of(&site);
    assert_eq!(server.get("/new").status(), 404);
    site.write_handler("new.wat", guests::page("new"));
    expect_text(&server, "/new", "new");
    // In folders that are new as well, and bound by a pattern.
    site.write_handler("deep/er/[id].wat", guests::page("deep"));
    expect_text(&server, "/deep/er/7", "deep");
    // A component, not only its text.
    site.install("hello.wasm", &guests::demo("hello"));
    eventually("/hello is there", || server.get("/hello").status() == 200);
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn a_file_replaced_by_rename_is_served() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::of(&site);
    assert_eq!(server.get("/page").text(), "one");
    for version in ["two", "three"] {
        site.replace_handler("page.wat", guests::page(version));
        expect_text(&server, "/page", version);
    }
    server.stop();
}

#[test]
fn a_file_written_in_place_is_served() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::of(&site);
    assert_eq!(server.get("/page").text(), "one");
    for version in ["two", "three"] {
        site.write_handler("page.wat", guests::page(version));
        expect_text(&server, "/page", version);
    }
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn a_file_that_an_editor_moves_away_first_is_served() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::of(&site);
    let file = site.handlers().join("page.wat");
    fs::rename(&file, site.handlers().join("page.wat~")).expect("renamed");
    fs::write(&file, guests::page("two")).expect("written");
    fs::remove_file(site.handlers().join("page.wat~")).expect("removed");
    expect_text(&server, "/page", "two");
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn a_deleted_file_is_a_404() {
    let site = Site::new()
        .with_page_handler("page", "one")
        .with_page_handler("other", "other");
    let server = Server::of(&site);
    assert_eq!(server.get("/page").text(), "one");
    fs::remove_file(site.handlers().join("page.wat")).expect("removed");
    expect_missing(&server, "/page");
    assert_eq!(server.get("/other").text(), "other");
    site.write_handler("page.wat", guests::page("again"));
    expect_text(&server, "/page", "again");
    server.stop();
}

#[test]
fn a_renamed_file_has_another_route() {
    let site = Site::new().with_page_handler("before", "page");
    let server = Server::of(&site);
    assert_eq!(server.get("/before").text(), "page");
    let rename = |from: &str, to: &str| {
        fs::rename(site.handlers().join(from), site.handlers().join(to)).expect("renamed");
    };
    rename("before.wat", "after.wat");
    expect_text(&server, "/after", "page");
    expect_missing(&server, "/before");
    // Withdrawn and taken up again without a copy.
    rename("after.wat", "_after.wat");
    expect_missing(&server, "/after");
    rename("_after.wat", "after.wat");
    expect_text(&server, "/after", "page");
    server.stop();
}

#[test]
fn a_truncated_file_leaves_the_last_good_version_serving() {
    let site = Site::new().with_demos(["hello"]);
    let server = Server::of(&site);
    let page = server.get("/hello").body;
    let whole = fs::read(site.handlers().join("hello.wasm")).expect("read");

    site.replace_handler("hello.wasm", &whole[..whole.len() / 2]);
    server.error_log().expect(&[
        "ERROR",
        "handlers/hello.wasm",
        "the version before it serves",
    ]);
    assert_eq!(server.get("/hello").body, page);

    // Another one goes on being reloaded, and the trouble is told once.
    site.replace_handler("other.wat", guests::page("other"));
    expect_text(&server, "/other", "other");
    site.replace_handler("hello.wasm", &whole);
    server.error_log().expect(&["INFO", "hello", "again"]);
    assert_eq!(server.get("/hello").body, page);
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 1, "{}", ended.everything());
}

#[test]
fn a_file_that_is_no_handler_is_named_and_nothing_else_changes() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::of(&site);
    site.replace_handler("notes.wasm", "Dear diary, today I was no component.");
    server
        .error_log()
        .expect(&["ERROR", "handlers/notes.wasm", "neither WebAssembly nor"]);
    assert_eq!(server.get("/notes").status(), 404);
    site.replace_handler("page.wat", "prose in the place of a handler");
    server.error_log().expect(&[
        "ERROR",
        "handlers/page.wat",
        "the version before it serves /page on",
    ]);
    assert_eq!(server.get("/page").text(), "one");
    site.replace_handler("page.wat", guests::page("two"));
    expect_text(&server, "/page", "two");
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 2, "{}", ended.everything());
}

#[test]
fn components_of_other_worlds_are_refused_with_a_reason() {
    let site = Site::new();
    let server = Server::of(&site);
    for (name, text, reason) in [
        ("module.wasm", "\0asm\x01\0\0\0", "core module"),
        ("empty.wasm", "", "empty"),
        (
            "bare.wat",
            "(component)",
            "has to export wasgi:gateway/application",
        ),
        (
            "hungry.wat",
            "(component (import \"wasi:http/types@0.2.0\" (instance)))",
            "has to export",
        ),
    ] {
        site.replace_handler(name, text);
        server.error_log().expect(&["ERROR", name, reason]);
    }
    server.stop();
}

#[test]
fn a_file_that_is_written_slowly_is_served_when_it_is_whole() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::of(&site);
    let text = guests::page("two");
    let (first, second) = text.split_at(text.len() / 2);
    let file = site.handlers().join("page.wat");
    fs::write(&file, first).expect("written");
    // Long enough for the half to be tried and found wanting.
    server.error_log().expect(&["ERROR", "page.wat"]);
    assert_eq!(server.get("/page").text(), "one");
    fs::write(&file, [first, second].concat()).expect("written");
    expect_text(&server, "/page", "two");
    server.stop();
}

#[test]
fn a_hundred_rewrites_end_with_the_last() {
    let site = Site::new().with_page_handler("page", "0");
    let server = Server::of(&site);
    for version in 1..=100 {
        let text = guests::page(&version.to_string());
        if version % 2 == 0 {
            fs::write(site.handlers().join("page.wat"), text).expect("written");
        } else {
            site.replace_handler("page.wat", text);
        }
    }
    expect_text(&server, "/page", "100");
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn the_folder_of_handlers_can_be_replaced() {
    let site = Site::new()
        .with_page_handler("old", "old")
        .with_page_handler("both", "before");
    let server = Server::of(&site);
    assert_eq!(server.get("/both").text(), "before");
    let next = Site::new()
        .with_page_handler("new", "new")
        .with_page_handler("both", "after");
    swap_folders(&site.handlers(), &next.handlers());
    expect_text(&server, "/new", "new");
    expect_text(&server, "/both", "after");
    expect_missing(&server, "/old");
    // The new folder is watched as the old one was, and the old one no more.
    site.replace_handler("new.wat", guests::page("newer"));
    expect_text(&server, "/new", "newer");
    next.replace_handler("old.wat", guests::page("nobody sees this"));
    site.replace_handler("newest.wat", guests::page("newest"));
    expect_text(&server, "/newest", "newest");
    assert_eq!(server.get("/old").status(), 404);
    server.stop();
}

#[test]
fn the_folder_of_handlers_can_go_and_come_back() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::of(&site);
    assert_eq!(server.get("/page").text(), "one");
    fs::remove_dir_all(site.handlers()).expect("removed");
    expect_missing(&server, "/page");
    site.write_handler("page.wat", guests::page("two"));
    expect_text(&server, "/page", "two");
    server.stop();
}

#[test]
fn a_page_that_is_edited_is_seen_at_once() {
    let site = Site::new().with_page("index.html", "0");
    let server = Server::of(&site);
    let mut client = server.connect();
    assert_eq!(client.get("/").text(), "0");
    for version in 1..=20 {
        let page = site.html().join("index.html");
        if version % 2 == 0 {
            fs::write(page, version.to_string()).expect("written");
        } else {
            let aside = site.html().join("aside");
            fs::write(&aside, version.to_string()).expect("written");
            fs::rename(aside, page).expect("renamed");
        }
        assert_eq!(client.get("/").text(), version.to_string());
    }
    fs::remove_file(site.html().join("index.html")).expect("removed");
    assert_eq!(client.get("/").status(), 404);
    server.stop();
}

#[test]
fn the_folder_of_pages_can_be_replaced() {
    let site = Site::new()
        .with_page("index.html", "before")
        .with_page("old.txt", "old");
    let server = Server::of(&site);
    assert_eq!(server.get("/").text(), "before");
    let next = Site::new()
        .with_page("index.html", "after")
        .with_page("new.txt", "new");
    swap_folders(&site.html(), &next.html());
    expect_text(&server, "/", "after");
    assert_eq!(server.get("/new.txt").text(), "new");
    assert_eq!(server.get("/old.txt").status(), 404);
    server.stop();
}

/// Puts each of two folders in the place of the other.
fn swap_folders(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("swapped");
}

#[test]
fn a_request_in_flight_finishes_on_the_version_it_began_with() {
    let site = Site::new().with_demos(["echo"]);
    let server = Server::of(&site);
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
    let server = Server::of(&site);
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
            // Some in quick succession, some when the one before is served.
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
fn folders_that_are_links_can_be_switched_over() {
    let first = Site::new()
        .with_page("index.html", "before")
        .with_page_handler("page", "one");
    let second = Site::new()
        .with_page("index.html", "after")
        .with_page_handler("page", "two");
    let site = Site::bare();
    let link = |from: &Site| {
        for (folder, name) in [(from.html(), "html"), (from.handlers(), "handlers")] {
            let aside = site.path().join("aside");
            symlink(folder, &aside).expect("a link");
            fs::rename(aside, site.path().join(name)).expect("renamed");
        }
    };
    link(&first);
    let server = Server::of(&site);
    assert_eq!(server.get("/").text(), "before");
    assert_eq!(server.get("/page").text(), "one");
    link(&second);
    expect_text(&server, "/page", "two");
    expect_text(&server, "/", "after");
    second.replace_handler("page.wat", guests::page("three"));
    expect_text(&server, "/page", "three");
    server.stop();
}

#[test]
fn a_link_to_a_handler_follows_its_target() {
    let elsewhere = Site::new().with_page_handler("built", "one");
    let site = Site::new();
    let target = elsewhere.handlers().join("built.wat");
    symlink(&target, site.handlers().join("page.wat")).expect("a link");
    let server = Server::of(&site);
    assert_eq!(server.get("/page").text(), "one");
    // Nobody tells: it is found by looking.
    elsewhere.replace_handler("built.wat", guests::page("two"));
    expect_text(&server, "/page", "two");
    fs::remove_file(target).expect("removed");
    expect_missing(&server, "/page");
    server.stop();
}

#[test]
fn a_storm_of_events_hides_nothing() {
    let site = Site::new().with_page_handler("page", "0");
    let server = Server::of(&site);
    for number in 0..4000 {
        // Five events each; the kernel's queue holds some 16,000.
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

#[test]
fn a_handler_that_needs_what_there_is_not_is_told_so() {
    let site = Site::new();
    let server = Server::of(&site);
    let needy = "(component
  (import \"wasi:http/outgoing-handler@0.2.0\" (instance (export \"handle\" (func))))";
    let text = guests::page("never").replacen("(component", needy, 1);
    site.replace_handler("needy.wat", text);
    let line = server.error_log().expect(&["ERROR", "handlers/needy.wat"]);
    assert!(line.contains("needs wasi:http/outgoing-handler"), "{line}");
    assert!(line.contains("/needy is not served"), "{line}");
    server.stop();
}

#[test]
fn names_cant_disturb_the_log() {
    let site = Site::new();
    let server = Server::of(&site);
    site.replace_handler("a\n\x1b[31mERROR fake.wat", guests::page("named"));
    site.replace_handler("b\nERROR fake.wasm", "prose");
    site.replace_handler("ok.wat", guests::page("ok"));
    expect_text(&server, "/ok", "ok");
    server
        .error_log()
        .expect(&["fake.wat", "control character"]);
    server
        .error_log()
        .expect(&["fake.wasm", "control character"]);
    let ended = server.stop();
    for line in ended.stderr.iter().chain(&ended.stdout) {
        assert!(!line.starts_with("ERROR fake"), "{}", ended.everything());
        assert!(!line.contains('\x1b'), "{}", ended.everything());
    }
}

#[test]
fn replaced_versions_are_given_back() {
    let site = Site::new().with_page_handler("page", "0");
    // A thread that is idle keeps what it last served until it serves again.
    let server = Server::with(&site, &["--threads", "1"]);
    expect_text(&server, "/page", "0");
    let before = server.descriptors();
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
    let server = Server::of(&site);
    let mut client = server.connect();
    assert_eq!(client.get("/page").text(), "one");
    site.replace_handler("page.wat", guests::page("two"));
    expect_text(&server, "/page", "two");
    assert_eq!(client.get("/page").text(), "two");
    client.finish_sending();
    assert_eq!(client.ending(), Ending::Closed);
    server.stop();
}
