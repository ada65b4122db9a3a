//! `wasgi test` sends the requests of test files to the site's handlers and compares the responses.

use std::path::Path;

use crate::support::command::{code_cache, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::site::Site;

/// Runs `wasgi test` on a site.
fn test(site: &Site, arguments: &[&str]) -> Ended {
    let mut wasgi = wasgi(["test"]);
    wasgi.args(arguments).arg("--site").arg(site.path());
    wasgi.arg("--code-cache").arg(code_cache());
    Process::start(&mut wasgi).wait()
}

fn write(site: &Site, name: &str, text: &str) {
    let file = site.path().join("tests").join(name);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("created");
    std::fs::write(file, text).expect("written");
}

#[track_caller]
fn expect_code(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "{}", ended.everything());
}

#[track_caller]
fn expect_line(ended: &Ended, part: &str) {
    let has_it = |line: &String| line.contains(part);
    assert!(ended.stdout.iter().any(has_it), "{}", ended.everything());
}

#[test]
fn requests_reach_the_handlers_that_a_server_would_call() {
    let site = Site::new()
        .with_demos(["hello", "echo"])
        .with_cases(["set-cookies"]);
    write(
        &site,
        "pages.hurl",
        "GET http://localhost:8000/hello\n\
         HTTP 200\n\
         Content-Type: text/html; charset=utf-8\n\
         [Captures]\n\
         title: regex /<h1>(\\w+)/\n\
         [Asserts]\n\
         body contains \"<h1>Hello!</h1>\"\n\
         \n\
         POST /echo/more?a=b\n\
         Content-Type: text/plain\n\
         `{{title}} {{who}}`\n\
         HTTP 200\n\
         Echo-Method: POST\n\
         `Hello Ada`\n",
    );
    write(
        &site,
        "deeper/cookies.hurl",
        "GET /set-cookies\n\
         HTTP 200\n\
         [Asserts]\n\
         header \"Set-Cookie\" count == 2\n\
         cookie \"b\" == \"2\"\n\
         \n\
         GET http://example.com/echo\n\
         Accept: text/plain\n\
         HTTP 200\n\
         [Asserts]\n\
         body contains \"cookie: a=1; b=2\"\n\
         body contains \"host: example.com\"\n",
    );
    write(&site, ".hidden/no.hurl", "no test");
    write(&site, "notes.txt", "no test");
    let ended = test(&site, &["--variable", "who=Ada"]);
    expect_code(&ended, 0);
    expect_line(&ended, "cookies.hurl (2 requests)");
    expect_line(&ended, "2 passed, 0 failed");
}

#[test]
fn the_demos_pass_their_test_files() {
    let site = Site::new().with_demos(["hello", "echo"]);
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/demos");
    let ended = test(&site, &[files.to_str().expect("a name")]);
    expect_code(&ended, 0);
    expect_line(&ended, "2 passed, 0 failed");
}

#[test]
fn a_difference_is_reported_with_its_line_and_the_response() {
    let site = Site::new().with_demos(["hello"]).with_cases(["trap"]);
    write(
        &site,
        "a.hurl",
        "GET /hello\nHTTP 404\n[Asserts]\nbody count < 3\n",
    );
    write(&site, "b.hurl", "GET /trap\nHTTP 500\n");
    write(&site, "c.hurl", "GET /nothing\nHTTP 404\n");
    write(
        &site,
        "d.hurl",
        "GET /hello\nHTTP 200\n[Asserts]\nbody hat \"x\"\n",
    );
    let ended = test(&site, &[]);
    expect_code(&ended, 1);
    expect_line(&ended, "a.hurl:2: status: expected 404, got 200");
    expect_line(&ended, "a.hurl:4: body count < 3: got ");
    expect_line(&ended, "| <!doctype html>");
    expect_line(&ended, "b.hurl (1 request)");
    expect_line(
        &ended,
        "c.hurl:1: no handler answers at /nothing (pages are not tested)",
    );
    expect_line(&ended, "d.hurl:4: unknown predicate \"hat\"");
    expect_line(&ended, "1 passed, 3 failed");
    // The handler's failure is in the log.
    assert!(
        ended.everything().contains("trapped"),
        "{}",
        ended.everything()
    );
}

#[test]
fn named_files_run_alone_and_missing_ones_are_errors() {
    let site = Site::new().with_demos(["hello"]);
    let ended = test(&site, &[]);
    expect_code(&ended, 1);
    ended.expect_stderr(&["tests: no such file or folder"]);

    write(&site, "good.hurl", "GET /hello\nHTTP 200\n");
    write(&site, "bad.hurl", "GET /hello\nHTTP 500\n");
    let good = site.path().join("tests/good.hurl");
    let ended = test(&site, &[good.to_str().expect("a name")]);
    expect_code(&ended, 0);
    expect_line(&ended, "1 passed, 0 failed");

    std::fs::create_dir(site.path().join("empty")).expect("created");
    let empty = site.path().join("empty");
    let ended = test(&site, &[empty.to_str().expect("a name")]);
    expect_code(&ended, 1);
    ended.expect_stderr(&["there is no *.hurl file in it"]);
}

#[test]
fn settings_and_endless_responses_are_limited_as_in_the_server() {
    let site = Site::new().with_cases(["loop"]);
    let configuration = "[handlers.loop]\ncpu-time = \"100ms\"\n";
    std::fs::write(site.path().join("wasgi.toml"), configuration).expect("written");
    write(&site, "loop.hurl", "GET /loop\nHTTP 504\n");
    let ended = test(&site, &[]);
    expect_code(&ended, 0);
    assert!(
        ended.everything().contains("100ms"),
        "{}",
        ended.everything()
    );
}

#[test]
fn a_test_file_cant_write_to_the_terminal() {
    let site = Site::new().with_demos(["echo"]);
    let request = "POST /echo\n`\u{1b}[31mred`\nHTTP 200\n[Asserts]\nbody isEmpty\n";
    write(&site, "colours.hurl", request);
    let ended = test(&site, &[]);
    expect_code(&ended, 1);
    assert!(
        !ended.everything().contains('\u{1b}'),
        "{}",
        ended.everything()
    );
}
