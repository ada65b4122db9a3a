//! Invalid files: the log names them, and they don't affect the handlers that are served.

use std::fs;

use super::expect_text;
use crate::support::guests;
use crate::support::server::Server;
use crate::support::site::Site;

#[test]
fn a_truncated_file_leaves_the_last_good_version_serving() {
    let site = Site::new().with_demos(["hello"]);
    let server = Server::new(&site);
    let page = server.get("/hello").body;
    let whole = fs::read(site.handlers().join("hello.wasm")).expect("read");

    site.replace_handler("hello.wasm", &whole[..whole.len() / 2]);
    server.error_log().expect(&[
        "ERROR",
        "handlers/hello.wasm",
        "the previous version still serves",
    ]);
    assert_eq!(server.get("/hello").body, page);

    // Other handlers are still reloaded, and the failure is logged once.
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
    let server = Server::new(&site);
    site.replace_handler("notes.wasm", "Dear diary, today I was no component.");
    server
        .error_log()
        .expect(&["ERROR", "handlers/notes.wasm", "neither WebAssembly nor"]);
    assert_eq!(server.get("/notes").status(), 404);
    site.replace_handler("page.wat", "prose in the place of a handler");
    server.error_log().expect(&[
        "ERROR",
        "handlers/page.wat",
        "the previous version still serves /page",
    ]);
    assert_eq!(server.get("/page").text(), "one");
    site.replace_handler("page.wat", guests::page("two"));
    expect_text(&server, "/page", "two");
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 2, "{}", ended.everything());
}

/// The first large block that a program frees may change how the allocator gets the next ones: so
/// there are several files.
#[test]
fn the_server_keeps_none_of_the_memory_that_large_files_were_read_into() {
    const FILE_BYTES: usize = 24 << 20;
    const FILES: usize = 4;
    let site = Site::new();
    let server = Server::new(&site);
    let refuse = |name: &str, bytes: usize| {
        let mut content = format!("Dear diary, I am {name}.").into_bytes();
        content.resize(bytes.max(content.len()), b'.');
        site.replace_handler(name, content);
        server
            .error_log()
            .expect(&["ERROR", name, "neither WebAssembly nor"]);
    };
    refuse("small.wasm", 0);
    let before = server.resident_bytes();
    for number in 0..FILES {
        refuse(&format!("large-{number}.wasm"), FILE_BYTES);
    }
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < FILE_BYTES as u64 / 2, "grew by {growth} bytes");
    server.stop();
}

#[test]
fn components_of_other_worlds_are_refused_with_a_reason() {
    let site = Site::new();
    let server = Server::new(&site);
    for (name, text, reason) in [
        ("module.wasm", "\0asm\x01\0\0\0", "core module"),
        ("empty.wasm", "", "empty"),
        (
            "bare.wat",
            "(component)",
            "must export wasgi:gateway/application",
        ),
        (
            "later.wat",
            "(component (import \"wasi:cli/run@0.3.0\" (instance $run))
               (export \"wasi:cli/run@0.3.0\" (instance $run)))",
            "WASI 0.3 is not supported",
        ),
        (
            "hungry.wat",
            "(component (import \"wasi:http/types@0.2.0\" (instance)))",
            "must export",
        ),
    ] {
        site.replace_handler(name, text);
        server.error_log().expect(&["ERROR", name, reason]);
    }
    server.stop();
}

#[test]
fn a_handler_that_needs_what_there_is_not_is_told_so() {
    let site = Site::new();
    let server = Server::new(&site);
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
    let server = Server::new(&site);
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
fn a_file_that_is_written_slowly_is_served_when_it_is_whole() {
    let site = Site::new().with_page_handler("page", "one");
    let server = Server::new(&site);
    let text = guests::page("two");
    let (first, second) = text.split_at(text.len() / 2);
    let file = site.handlers().join("page.wat");
    fs::write(&file, first).expect("written");
    // The log shows that the server has tried to load the incomplete file.
    server.error_log().expect(&["ERROR", "page.wat"]);
    assert_eq!(server.get("/page").text(), "one");
    fs::write(&file, [first, second].concat()).expect("written");
    expect_text(&server, "/page", "two");
    server.stop();
}
