//! Each grant, for each kind of handler: it can be granted and taken back while requests are in
//! flight, and none of them fails.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::attempts::{PATIENT_BUDGET, configure};
use crate::support::scripts::Language::Python;
use crate::support::scripts::{compile, percent_encoded};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::upstream::Upstream;
use crate::support::{SetOnDrop, eventually};

/// An application that evaluates the expression in its query.
const PYTHON: &str = include_str!("../python/granted.py");

/// What a handler attempts, and how its response begins without the grant and with it.
struct Attempt {
    path: String,
    without: &'static str,
    with: &'static str,
}

/// A grant to all handlers, and an attempt of each kind of handler to use it.
struct Grant {
    settings: String,
    attempts: Vec<Attempt>,
}

/// Creates the attempts of handlers with the same query, and the one in Python, if there is one.
fn attempts(
    handlers: [&str; 3],
    query: &str,
    [without, with]: [&'static str; 2],
    python: Option<(&str, [&'static str; 2])>,
) -> Vec<Attempt> {
    let mut attempts = Vec::from(handlers.map(|handler| Attempt {
        path: format!("/{handler}?{query}"),
        without,
        with,
    }));
    attempts.extend(python.map(|(expression, [without, with])| Attempt {
        path: format!("/granted?{}", percent_encoded(expression)),
        without,
        with,
    }));
    attempts
}

fn grants(upstream: &Upstream, has_python: bool) -> [Grant; 4] {
    const KINDS: [&str; 3] = ["grants", "grants-cgi", "wasi-http-grants"];
    const NETWORK_KINDS: [&str; 3] = ["outbound", "outbound-cgi", "wasi-http-outbound"];
    let url = upstream.url("/hello");
    let get = format!("get('{url}')");
    let python = |expression, results| has_python.then_some((expression, results));
    [
        Grant {
            settings: "environment = { GREETING = \"good day\" }\n".into(),
            attempts: attempts(
                KINDS,
                "variable=GREETING",
                ["not set", "good day"],
                python(
                    "__import__('os').environ['GREETING']",
                    ["builtins.KeyError: ", "good day"],
                ),
            ),
        },
        Grant {
            settings: "files = [{ source = \"data\", destination = \"/data\" }]\n".into(),
            attempts: attempts(
                KINDS,
                "read=/data/note",
                ["error: ", "a note"],
                python(
                    "open('/data/note').read()",
                    ["builtins.FileNotFoundError: ", "a note"],
                ),
            ),
        },
        Grant {
            settings: format!(
                "allowed-outbound-hosts = [\"http://{}\"]\n",
                upstream.addr()
            ),
            attempts: attempts(
                NETWORK_KINDS,
                &format!("fetch={url}"),
                ["error: ErrorCode::HttpRequestDenied", "200 hello"],
                python(&get, ["urllib.error.URLError: ", "hello"]),
            ),
        },
        Grant {
            settings: "key-value = [\"default\"]\n".into(),
            attempts: attempts(
                KINDS,
                "kv=default,exists,key",
                ["error: access denied", "false"],
                python(
                    "BUCKET.exists('key')",
                    ["wasgi.kv.errors.AccessDenied: ", "False"],
                ),
            ),
        },
    ]
}

fn site() -> (Site, bool) {
    let site = Site::new()
        .with_cases(["grants", "grants-cgi", "wasi-http-grants"])
        .with_cases(["outbound", "outbound-cgi", "wasi-http-outbound"]);
    fs::create_dir(site.path().join("data")).expect("a folder");
    fs::write(site.path().join("data/note"), "a note").expect("written");
    let has_python = Python.has_runtime();
    if has_python {
        site.write_handler("granted.py", PYTHON);
        compile(&site);
    }
    (site, has_python)
}

#[test]
fn a_grant_of_each_kind_comes_and_goes_under_load_for_each_kind_of_handler_and_no_request_fails() {
    let upstream = Upstream::start();
    let (site, has_python) = site();
    let grants = grants(&upstream, has_python);
    for processes in ["1", "2"] {
        configure(&site, PATIENT_BUDGET);
        let server = Server::with(&site, &["--processes", processes]);
        for attempt in grants.iter().flat_map(|grant| &grant.attempts) {
            let path = &attempt.path;
            // A script is loaded after the start.
            eventually(path, || {
                server.get(path).text().starts_with(attempt.without)
            });
        }
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let _stop = SetOnDrop(&done);
            for column in 0..grants[0].attempts.len() {
                let (server, done, grants) = (&server, &done, &grants);
                scope.spawn(move || {
                    let mut column = grants.iter().map(|grant| &grant.attempts[column]).cycle();
                    while !done.load(Ordering::Relaxed) {
                        let Attempt {
                            path,
                            without,
                            with,
                        } = column.next().expect("it has no end");
                        let response = server.get(path);
                        let text = response.text();
                        assert_eq!(response.status(), 200, "{path}: {text}");
                        let is_either = text.starts_with(without) || text.starts_with(with);
                        assert!(is_either, "{path}: {text}");
                    }
                });
            }
            for grant in &grants {
                let until_all = |result: fn(&Attempt) -> &str| {
                    for attempt in &grant.attempts {
                        // Several in a row: each process has it.
                        eventually(&attempt.path, || {
                            let has = |_| {
                                let response = server.get(&attempt.path);
                                response.text().starts_with(result(attempt))
                            };
                            (0..4).all(has)
                        });
                    }
                };
                configure(
                    &site,
                    &format!("{PATIENT_BUDGET}[handlers.\"*\"]\n{}", grant.settings),
                );
                until_all(|attempt| attempt.with);
                configure(&site, PATIENT_BUDGET);
                until_all(|attempt| attempt.without);
            }
        });
        server.stop();
    }
}
