//! Traps of compiled handlers are explained with the lines of their source, to a developer alone.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::projects::has_c;
use crate::support::command::{code_cache, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;

/// A program in C that divides by the number in the query.
const DIVISION: &str = r#"#include <stdio.h>
#include <stdlib.h>

__attribute__((noinline)) static int divide(int a, int b) {
    return a / b;
}

int main(void) {
    const char *query = getenv("QUERY_STRING");
    int result = divide(10, query ? atoi(query) : 1);
    printf("Content-Type: text/plain\r\n\r\n%d", result);
    return 0;
}
"#;

/// What a division by zero is explained with: the functions with their lines, and the source.
const EXPLAINED: [&str; 4] = [
    "integer divide by zero",
    "divide (handlers/divide.c:5:14)",
    "(handlers/divide.c:10:18)",
    ">     5      return a / b;",
];

fn site() -> (Site, TempDir) {
    let site = Site::new();
    fs::write(site.handlers().join("divide.c"), DIVISION).expect("written");
    (site, TempDir::new().expect("a folder"))
}

fn command(cache: &TempDir, arguments: &[&str]) -> Command {
    let mut command = wasgi(arguments);
    command.env("XDG_CACHE_HOME", cache.path());
    command.arg("--code-cache").arg(code_cache());
    command
}

/// Requests a document as a browser does.
fn document(server: &Server, target: &str) -> String {
    let mut client = server.connect();
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {}\r\nSec-Fetch-Dest: document\r\nConnection: close\r\n\r\n",
        server.addr()
    ));
    String::from_utf8(client.response().body).expect("UTF-8")
}

#[track_caller]
fn expect_all(text: &str) {
    for part in EXPLAINED {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_trap_in_c_is_explained_with_its_lines_in_the_browser_and_on_the_terminal() {
    if !has_c() {
        return;
    }
    let (site, cache) = site();
    let mut dev = command(&cache, &["dev", "--addr", "127.0.0.1:0"]);
    let server = Server::started(Process::start(dev.arg(site.path())));
    eventually("it is built", || server.get("/divide?5").text() == "2");
    let page = document(&server, "/divide?0");
    expect_all(&page.replace("&gt;", ">"));
    for part in EXPLAINED {
        server.error_log().expect(&[part]);
    }
    server.stop();
}

#[test]
fn commands_explain_a_trap_with_its_lines() {
    if !has_c() {
        return;
    }
    let (site, cache) = site();
    let mut run = command(&cache, &["run", "divide", "?0"]);
    let ended = Process::start(run.arg("--site").arg(site.path())).wait();
    assert!(!ended.status.success());
    expect_all(&ended.everything());
    fs::create_dir(site.path().join("tests")).expect("created");
    let expectation = "GET /divide?0\nHTTP 200\n";
    fs::write(site.path().join("tests/divide.hurl"), expectation).expect("written");
    let mut test = command(&cache, &["test"]);
    let ended = Process::start(test.arg("--site").arg(site.path())).wait();
    assert!(!ended.status.success());
    expect_all(&ended.everything());
}

#[test]
fn serve_shows_no_lines() {
    if !has_c() {
        return;
    }
    let (site, cache) = site();
    // With debugging information, as a developer may have built it.
    let mut run = command(&cache, &["run", "divide", "?5"]);
    Process::start(run.arg("--site").arg(site.path())).wait();
    let built = program_below(cache.path());
    fs::remove_file(site.handlers().join("divide.c")).expect("removed");
    fs::copy(built, site.handlers().join("divide.wasm")).expect("copied");
    let server = Server::new(&site);
    assert_eq!(server.get("/divide?5").text(), "2");
    let page = document(&server, "/divide?0");
    assert!(
        !page.contains("divide.c") && !page.contains("a / b"),
        "{page}"
    );
    let line = server.error_log().expect(&["integer divide by zero"]);
    assert!(!line.contains("divide.c"), "{line}");
    server.stop();
}

/// Returns the program below a folder.
fn program_below(folder: &std::path::Path) -> std::path::PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "wasm")
            {
                return path;
            }
        }
    }
    panic!("nothing was built");
}

#[test]
fn hostile_debugging_information_costs_a_developer_only_the_lines() {
    let site = Site::new();
    let noise = "\\ff\\00\\80\\7f".repeat(10_000);
    let sections: String = [".debug_info", ".debug_abbrev", ".debug_line", ".debug_str"]
        .into_iter()
        .map(|name| format!("(@custom \"{name}\" \"{noise}\")"))
        .collect();
    let text = format!(
        "(module (memory (export \"memory\") 1) (func $fails (export \"_start\") unreachable) \
         {sections})"
    );
    site.write_handler("hostile.wat", text);
    let mut dev = wasgi(["dev", "--addr", "127.0.0.1:0", "--code-cache"]);
    let server = Server::started(Process::start(dev.arg(code_cache()).arg(site.path())));
    for _ in 0..3 {
        let page = document(&server, "/hostile");
        assert!(page.contains("unreachable"), "{page}");
        assert!(page.contains("!fails"), "{page}");
    }
    server.stop();
}
