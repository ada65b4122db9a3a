//! `wasgi new` makes sites and handlers that work as they are.

use std::fs;
use std::path::Path;

use crate::support::command::{code_cache, run, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::server::Server;
use crate::support::site::Site;

/// Reports whether the runtimes that load scripts are built, and prints a line if not.
fn has_runtimes() -> bool {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../runtime");
    let has_all = ["python", "javascript"]
        .iter()
        .all(|language| folder.join(language).is_dir());
    if !has_all {
        eprintln!("SKIPPED: there are no runtimes; `cargo xtask runtime` builds them");
    }
    has_all
}

fn new(folder: &Path, arguments: &[&str]) -> Ended {
    let mut command = wasgi(["new"]);
    command.arg(folder).args(arguments);
    Process::start(&mut command).wait()
}

#[track_caller]
fn expect_success(ended: &Ended) {
    assert!(ended.status.success(), "{}", ended.everything());
}

/// Loads the handlers of a site without a time limit, so that the runtimes are compiled afterwards.
fn load(folder: &Path) {
    let mut command = wasgi(["routes", "--code-cache"]);
    command.arg(code_cache()).arg(folder);
    command.output().expect("the program starts");
}

/// Runs the tests of a site.
fn test(folder: &Path) -> Ended {
    let mut command = wasgi(["test", "--site"]);
    command.arg(folder).arg("--code-cache").arg(code_cache());
    Process::start(&mut command).wait()
}

#[test]
fn a_new_site_passes_its_tests_and_is_served() {
    if !has_runtimes() {
        return;
    }
    let site = Site::new();
    let folder = site.path().join("blog");
    expect_success(&new(&folder, &[]));
    for language in ["javascript", "wat"] {
        let name = format!("api/[id]/{language}");
        expect_success(&new(&folder, &["--handler", &name, "--lang", language]));
    }
    load(&folder);
    let ended = test(&folder);
    expect_success(&ended);
    assert_eq!(
        ended.stdout.last().map(String::as_str),
        Some("3 passed, 0 failed"),
        "{}",
        ended.everything()
    );

    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
    command.arg(code_cache()).arg(&folder);
    let server = Server::started(Process::start(&mut command));
    assert!(server.get("/").text().contains("It works."));
    assert_eq!(server.get("/style.css").status(), 200);
    assert_eq!(server.get("/hello?name=Ada").text(), "Hello, Ada!\n");
    assert_eq!(server.get("/api/7/javascript").text(), "Hello, world!\n");
    assert_eq!(server.get("/api/7/wat").text(), "Hello, world!\n");
}

#[test]
fn nothing_is_overwritten() {
    let site = Site::new();
    let folder = site.path().join("blog");
    fs::create_dir_all(folder.join("html")).expect("created");
    fs::write(folder.join("html/style.css"), "mine").expect("written");
    let ended = new(&folder, &[]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
    ended.expect_stderr(&["html/style.css exists: nothing was written"]);
    assert_eq!(
        fs::read_to_string(folder.join("html/style.css")).expect("kept"),
        "mine"
    );
    assert!(!folder.join("handlers").exists());
}

#[test]
fn a_handler_needs_a_site_and_a_name_that_is_a_route() {
    let site = Site::new();
    let ended = new(&site.path().join("none"), &["--handler", "hello"]);
    ended.expect_stderr(&["none is not a site: it has no folder handlers"]);
    for name in [
        "../outside",
        "/etc/hello",
        "a//b",
        "",
        "a/../../b",
        "[id",
        ".hidden",
    ] {
        let ended = new(site.path(), &[&format!("--handler={name}")]);
        assert_eq!(
            ended.status.code(),
            Some(1),
            "{name}: {}",
            ended.everything()
        );
        ended.expect_stderr(&["--handler"]);
    }
    assert!(!site.path().join("tests").exists());
    assert!(!site.path().join("outside.py").exists());
}

#[test]
fn it_needs_a_folder_or_a_handler() {
    let ended = run(["new"]);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.everything());
}
