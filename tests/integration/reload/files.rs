//! Handlers that are added, changed, moved and deleted.

use std::fs;

use super::{expect_missing, expect_text};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{eventually, guests};

#[test]
fn a_new_file_is_served() {
    let site = Site::new();
    let server = Server::new(&site);
    assert_eq!(server.get("/new").status(), 404);
    site.write_handler("new.wat", guests::page("new"));
    expect_text(&server, "/new", "new");
    // In new folders, and with a pattern.
    site.write_handler("deep/er/[id].wat", guests::page("deep"));
    expect_text(&server, "/deep/er/7", "deep");
    // A binary component, in addition to the text format.
    site.install("hello.wasm", &guests::demo("hello"));
    eventually("/hello is there", || server.get("/hello").status() == 200);
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn a_file_replaced_by_rename_is_served() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::new(&site);
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
    let server = Server::new(&site);
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
    let server = Server::new(&site);
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
    let server = Server::new(&site);
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
    let server = Server::new(&site);
    assert_eq!(server.get("/before").text(), "page");
    let rename = |from: &str, to: &str| {
        fs::rename(site.handlers().join(from), site.handlers().join(to)).expect("renamed");
    };
    rename("before.wat", "after.wat");
    expect_text(&server, "/after", "page");
    expect_missing(&server, "/before");
    // A rename withdraws a handler, and another restores it, without a copy.
    rename("after.wat", "_after.wat");
    expect_missing(&server, "/after");
    rename("_after.wat", "after.wat");
    expect_text(&server, "/after", "page");
    server.stop();
}
