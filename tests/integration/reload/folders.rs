//! Replaced folders, symbolic links, and pages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{expect_missing, expect_text};
use crate::support::eventually;
use crate::support::guests;
use crate::support::server::Server;
use crate::support::site::Site;

#[test]
fn the_folder_of_handlers_can_be_replaced() {
    let site = Site::new()
        .with_page_handler("old", "old")
        .with_page_handler("both", "before");
    let server = Server::new(&site);
    assert_eq!(server.get("/both").text(), "before");
    let next = Site::new()
        .with_page_handler("new", "new")
        .with_page_handler("both", "after");
    swap_folders(&site.handlers(), &next.handlers());
    expect_text(&server, "/new", "new");
    expect_text(&server, "/both", "after");
    expect_missing(&server, "/old");
    // The server watches the new folder, and no longer the old one.
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
    let server = Server::new(&site);
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
    let server = Server::new(&site);
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
    let server = Server::new(&site);
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
    let server = Server::new(&site);
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
    let server = Server::new(&site);
    assert_eq!(server.get("/page").text(), "one");
    // Changes behind a link produce no event: they are found by polling.
    elsewhere.replace_handler("built.wat", guests::page("two"));
    expect_text(&server, "/page", "two");
    fs::remove_file(target).expect("removed");
    expect_missing(&server, "/page");
    server.stop();
}

/// A Kubernetes ConfigMap is mounted and replaced in this way: links lead through `..data`, which
/// is replaced.
#[test]
fn a_volume_is_served_through_its_links_and_switched_over_whole() {
    let site = Site::new();
    let handlers = site.handlers();
    let version = |name: &str, text: &str| {
        let folder = handlers.join(name);
        fs::create_dir_all(folder.join("sub")).expect("a folder");
        for file in ["hello.wat", "sub/hello.wat"] {
            fs::write(folder.join(file), guests::page(text)).expect("written");
        }
    };
    let switch_to = |name: &str| {
        symlink(name, handlers.join("..data_tmp")).expect("a link");
        fs::rename(handlers.join("..data_tmp"), handlers.join("..data")).expect("renamed");
    };
    version("..2026_01_01", "one");
    switch_to("..2026_01_01");
    symlink("..data/hello.wat", handlers.join("hello.wat")).expect("a link");
    symlink("..data/sub", handlers.join("sub")).expect("a link");
    let server = Server::new(&site);
    for (old, name, text) in [
        ("..2026_01_01", "..2026_01_02", "two"),
        ("..2026_01_02", "..2026_01_03", "three"),
    ] {
        version(name, text);
        switch_to(name);
        fs::remove_dir_all(handlers.join(old)).expect("removed");
        expect_text(&server, "/hello", text);
        expect_text(&server, "/sub/hello", text);
    }
    fs::remove_file(handlers.join("sub")).expect("removed");
    expect_missing(&server, "/sub/hello");
    let ended = server.stop();
    assert_eq!(
        ended.stderr_with(&["not served"]),
        0,
        "{}",
        ended.everything()
    );
}

/// A flood of changes of pages must not delay a handler, so the watcher's threads have a lower
/// priority.
#[test]
fn who_watches_pages_gives_way_to_a_handler_that_is_reloaded() {
    let site = Site::new().with_page("index.html", "a page");
    let server = Server::new(&site);
    let reload = server.nice_of_threads("wasgi-reload");
    let nice = reload.first().copied().expect("a thread");
    // 19 is the lowest priority that there is.
    let lower = (nice + 10).min(19);
    eventually("they give way", || {
        server.nice_of_threads("wasgi-pages") == [lower]
    });
    // The kernel's events of pages arrive on a thread of their own, and those of handlers, too.
    eventually("and so does what tells of changes", || {
        server.nice_of_threads("wasgi-watch") == [lower]
            && server.nice_of_threads("notify-rs inoti") == [nice]
    });
    server.stop();
}

/// Exchanges two folders.
fn swap_folders(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("swapped");
}
