//! `wasgi check` finds faults without false alarms; `wasgi run` shows one response.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::command::{code_cache, run, wasgi};
use crate::support::guests;
use crate::support::process::{Ended, Process};
use crate::support::site::Site;

/// An expected finding: the fault's name in `tests/guests/faults.rs`, the level, the rule, and a
/// part of the message.
type Fault = (&'static str, &'static str, &'static str, &'static str);

/// Runs the program with the tests' code cache and a small budget.
fn with_budget<S: AsRef<OsStr>>(command: &str, arguments: impl IntoIterator<Item = S>) -> Ended {
    let mut wasgi = wasgi([command, "--max-cpu-time=0.3", "--max-wall-time=3"]);
    wasgi.args(["--max-memory=32", "--code-cache"]);
    wasgi.arg(code_cache()).args(arguments);
    Process::start(&mut wasgi).wait()
}

/// Returns the JSON report on one file, and whether the program exited with success.
#[track_caller]
fn report(file: &Path, path: &str) -> (Value, bool) {
    let arguments = [
        "--json".as_ref(),
        "--path".as_ref(),
        path.as_ref(),
        file.as_os_str(),
    ];
    let ended = with_budget("check", arguments);
    let json: Value = serde_json::from_str(&ended.stdout.join("\n"))
        .unwrap_or_else(|error| panic!("{error}: {}", ended.everything()));
    let code = ended.status.code();
    assert_eq!(code, Some(i32::from(json["ok"] != true)), "{json:#}");
    let is_content = code == Some(0);
    (json["files"][0].clone(), is_content)
}

/// Checks that the report contains a finding.
#[track_caller]
fn expect(file: &Value, level: &str, rule: &str, part: &str) {
    let findings = file["findings"].as_array().expect("a list");
    let is_there = findings.iter().any(|finding| {
        finding["level"] == level
            && finding["rule"] == rule
            && finding["what"]
                .as_str()
                .is_some_and(|what| what.contains(part))
    });
    assert!(is_there, "no {level} {rule} {part:?} in {file:#}");
}

#[track_caller]
fn expect_faults(faults: &[Fault]) {
    for (name, level, rule, part) in faults {
        let path = format!("/faults?fault={name}");
        let (file, is_content) = report(&guests::case("faults"), &path);
        expect(&file, level, rule, part);
        assert_eq!(is_content, *level == "warning", "{name}: {file:#}");
    }
}

#[test]
fn faults_in_a_status_are_found() {
    expect_faults(&[
        ("status-bare", "warning", "R1", "has no reason"),
        ("status-words", "error", "R1", "three digits"),
        ("status-long", "error", "R1", "three digits"),
        ("status-interim", "error", "R1", "only the server"),
        ("status-class", "warning", "R1", "no class"),
        ("status-control", "error", "R1", "control character"),
        ("status-umlaut", "warning", "R1", "not ASCII"),
        ("status-500", "warning", "failure", "status 500"),
        ("location", "warning", "R1", "without Location"),
    ]);
}

#[test]
fn faults_in_a_field_are_found() {
    expect_faults(&[
        ("name-space", "error", "R1", "not a token"),
        ("name-colon", "error", "R1", "not a token"),
        ("name-newline", "error", "R1", "not a token"),
        ("name-empty", "error", "R1", "not a token"),
        ("name-underscore", "warning", "R1", "underscore"),
        ("name-status", "error", "R1", "Status field"),
        ("name-hop", "error", "R1", "hop-by-hop"),
        ("name-framing", "error", "R1", "hop-by-hop"),
        ("value-split", "error", "R1", "control character"),
        ("value-padded", "warning", "R1", "white space"),
        ("type-twice", "warning", "R1", "content-type twice"),
        ("no-type", "warning", "R1", "without Content-Type"),
        ("too-large", "error", "R1", "--max-response-head"),
    ]);
}

#[test]
fn faults_in_a_body_are_found() {
    expect_faults(&[
        ("length-words", "error", "R1", "not a number"),
        ("length-two", "error", "R1", "two different"),
        ("length-twice", "warning", "B3", "twice"),
        (
            "length-short",
            "error",
            "B3",
            "returned 4 bytes and declared 9",
        ),
        (
            "length-long",
            "error",
            "B3",
            "returned 4 bytes and declared 2",
        ),
        ("type-204", "error", "B5", "with status 204"),
        ("body-304", "error", "B5", "with status 304"),
        ("empty-blocks", "warning", "R2", "all of them empty"),
        ("head-differs", "warning", "B5", "HEAD with status 404"),
    ]);
}

#[test]
fn faults_in_the_order_of_calls_are_found() {
    expect_faults(&[
        ("no-start", "error", "R6", "without calling start_response"),
        (
            "no-start-blocks",
            "error",
            "R6",
            "without calling start_response",
        ),
        ("twice", "error", "R3", "again without exc_info"),
        (
            "restart-late",
            "error",
            "R3",
            "after the head had been sent",
        ),
        ("write-inside", "error", "R4", "PEP 3333 forbids"),
        (
            "write-after",
            "error",
            "R4",
            "after the end of the response",
        ),
        (
            "close-raises",
            "error",
            "B2",
            "close raised Error: can't close",
        ),
        (
            "close-panics",
            "error",
            "B2",
            "close panicked: closing broke",
        ),
    ]);
}

#[test]
fn failures_are_found() {
    expect_faults(&[
        ("exception", "error", "failure", "ValueError: no value"),
        (
            "exception-late",
            "error",
            "failure",
            "the connection is cut",
        ),
        ("panic", "error", "failure", "out of my depth"),
        ("abort", "error", "failure", "unreachable"),
        ("stack", "error", "failure", "trapped"),
        ("loop", "error", "budget", "computed for longer"),
        ("wait", "error", "budget", "took longer"),
        ("hoard", "error", "budget", "out of memory"),
        ("read-on", "error", "I2", "keeps reading"),
        ("swallow", "warning", "I2", "truncated"),
        (
            "disconnect",
            "error",
            "B2",
            "after its client had disconnected",
        ),
        ("log", "warning", "I5", "dropped"),
    ]);
}

#[test]
fn what_is_found_is_found_in_the_right_request() {
    let (file, _) = report(&guests::case("faults"), "/faults?fault=disconnect");
    let requests = &file["findings"][0]["requests"];
    assert_eq!(requests[0], "GET, left in the body", "{file:#}");
    let (file, _) = report(&guests::case("faults"), "/faults?fault=swallow");
    assert_eq!(file["findings"][0]["requests"][0], "POST that is cut off");
    let (file, _) = report(&guests::case("faults"), "/faults?fault=loop");
    assert_eq!(file["requests"], 1, "what never ends is not asked again");
}

#[test]
fn files_that_are_no_handlers_are_explained() {
    let site = Site::new();
    let page = guests::page("a page");
    let truncated = std::fs::read(guests::demo("hello")).expect("readable");
    let other_world = r#"(component (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func (export "other") (canon lift (core func $i "f"))))"#;
    let importing = |import: &str| {
        let import = format!("(component (import \"{import}\" (instance (export \"x\" (func))))");
        page.replacen("(component", &import, 1)
    };
    for (name, content, part) in [
        ("empty.wasm", Vec::new(), "empty"),
        (
            "prose.wasm",
            b"Once upon a time.".to_vec(),
            "neither WebAssembly",
        ),
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec(), "core module"),
        (
            "future.wasm",
            b"\0asm\x63\0\x01\0".to_vec(),
            "unknown version",
        ),
        (
            "cut.wasm",
            truncated[..truncated.len() / 2].to_vec(),
            "does not compile",
        ),
        (
            "syntax.wat",
            b"(component (oops))".to_vec(),
            "does not compile",
        ),
        ("nothing.wat", b"(component)".to_vec(), "it exports nothing"),
        ("world.wat", other_world.into(), "it exports other"),
        (
            "http.wat",
            importing("wasi:keyvalue/store@0.2.0").into(),
            "a key-value store",
        ),
        (
            "own.wat",
            importing("acme:shop/basket@1.0.0").into(),
            "custom interface",
        ),
        (
            "later.wat",
            importing("wasgi:gateway/gateway@0.7.0").into(),
            "another version",
        ),
    ] {
        site.write_handler(name, content);
        let (file, is_content) = report(&site.handlers().join(name), "/");
        assert!(!is_content, "{name}");
        expect(&file, "error", "load", part);
        assert_eq!(file["requests"], 0);
    }
    let (file, _) = report(&site.handlers().join("own.wat"), "/");
    let fix = file["findings"][0]["fix"].as_str().expect("a fix");
    assert!(fix.contains("wac plug"), "{fix}");
    let (file, _) = report(&site.handlers().join("gone.wasm"), "/");
    expect(&file, "error", "load", "can't be read");
}

#[test]
fn a_reason_that_is_no_text_is_found() {
    let site = Site::new();
    let page = guests::page("a page").replace("\"200 OK\"", "\"200 \\ff\\fe\"");
    site.write_handler("odd.wat", page);
    let (file, _) = report(&site.handlers().join("odd.wat"), "/odd");
    expect(&file, "warning", "R1", "is not ASCII");
}

#[test]
fn good_handlers_are_not_complained_of() {
    let demos = [
        "hello",
        "echo",
        "environ",
        "fail",
        "sleep",
        "stream",
        "time",
        "users/[id]",
    ];
    let mut files: Vec<PathBuf> = demos.iter().map(|demo| guests::demo(demo)).collect();
    files.extend(["faults", "late-start", "write-then-yield", "lines"].map(guests::case));
    let count = files.len();
    let mut check = wasgi(["check", "--code-cache"]);
    let ended = Process::start(check.arg(code_cache()).args(files)).wait();
    assert!(ended.status.success(), "{}", ended.everything());
    assert_eq!(ended.stdout.len(), count, "{}", ended.everything());
    for line in &ended.stdout {
        assert!(line.ends_with("no problems in 15 requests"), "{line}");
    }
    assert!(ended.stderr.is_empty(), "{}", ended.everything());
}

#[test]
fn handlers_of_other_kinds_are_checked_too() {
    for (name, kind) in [
        ("cgi-echo", "cgi"),
        ("cgi-stream", "cgi"),
        ("wasi-http", "wasi:http"),
    ] {
        let (file, is_content) = report(&guests::case(name), "/");
        assert_eq!(
            (&file["kind"], &file["requests"]),
            (&kind.into(), &15.into())
        );
        assert!(is_content, "{file:#}");
        assert_eq!(file["findings"], Value::Array(Vec::new()), "{file:#}");
    }
    for name in ["cgi-fail", "wasi-http-silent"] {
        let (file, _) = report(&guests::case(name), "/");
        expect(&file, "error", "R1", "returned no valid response");
    }
}

#[test]
fn what_handlers_log_is_shown_on_demand() {
    let errors = guests::case("errors");
    for (flag, lines) in [(None, false), (Some("--log"), true)] {
        let arguments = flag.map(OsStr::new).into_iter().chain([errors.as_os_str()]);
        let ended = with_budget("check", arguments);
        assert!(ended.status.success(), "{}", ended.everything());
        assert_eq!(
            ended.stderr_with(&["errors: line 1"]) > 0,
            lines,
            "{flag:?}"
        );
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_neither_good_nor_bad() {
    assert_eq!(run(["check"]).status.code(), Some(2));
    let hello = guests::demo("hello");
    let arguments = ["--path".as_ref(), "no slash".as_ref(), hello.as_os_str()];
    let ended = with_budget("check", arguments);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.everything());
    ended.expect_stderr(&["--path", "no slash"]);
}

#[test]
fn one_request_is_answered_on_standard_output() {
    let echo = guests::demo("echo");
    let mut arguments = vec![echo.as_os_str()];
    arguments
        .extend(["PUT", "/echo?a", "-H", "Content-Type: text/x", "-d", "body"].map(OsStr::new));
    let ended = with_budget("run", arguments);
    assert!(ended.status.success(), "{}", ended.everything());
    let (first, rest) = ended.stdout.split_first().expect("a line");
    assert_eq!(first.trim_end(), "HTTP/1.1 200 OK");
    let has = |line: &str| rest.iter().any(|known| known.trim_end() == line);
    assert!(has("content-type: text/x") && has("Content-Length: 4") && has(""));
    assert_eq!(rest.last().map(String::as_str), Some("body"));

    let site = Site::new().with_demos(["users/[id]", "fail"]);
    let handlers = ["--handlers".into(), site.handlers().into_os_string()];
    let named = ["users/[id]", "GET", "/users/J%C3%BC?x", "--body-only"].map(Into::into);
    let ended = with_budget("run", handlers.iter().cloned().chain(named));
    assert!(ended.status.success(), "{}", ended.everything());
    let page = ended.stdout.join("\n");
    assert!(
        page.starts_with("<!doctype") && page.contains("User J\u{fc}"),
        "{page}"
    );

    let missing = ["users/[id]", "GET", "/users/7/no-such-page"].map(Into::into);
    let ended = with_budget("run", handlers.iter().cloned().chain(missing));
    assert!(ended.status.success(), "404 is an answer");
    assert_eq!(ended.stdout[0].trim_end(), "HTTP/1.1 404 Not Found");

    let failing = ["fail", "GET", "/fail?how=panic"].map(Into::into);
    let ended = with_budget("run", handlers.iter().cloned().chain(failing));
    assert_eq!(ended.status.code(), Some(1));
    ended.expect_stderr(&["ERROR", "fail: panicked"]);
    assert!(ended.stdout.is_empty(), "{}", ended.everything());
    for wrong in [
        ["gone", "GET", "/"],
        ["fail", "GET", "no-slash"],
        ["fail", "G T", "/"],
    ] {
        let wrong = wrong.map(Into::into);
        let ended = with_budget("run", handlers.iter().cloned().chain(wrong));
        assert_eq!(ended.status.code(), Some(1), "{}", ended.everything());
        assert_eq!(ended.stderr.len(), 1, "{}", ended.everything());
    }
}
