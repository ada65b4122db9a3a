//! Which part of the host may use which crates and system interfaces: the fences that
//! `docs/ARCHITECTURE.md` describes.

use crate::complaint::{Complaint, assert_tidy, lines};
use crate::rust::{Token, code, code_before_tests};
use crate::tree::File;

const HOST: &str = "host/";
const SERVER: &str = "host/src/server/";
const ENGINE: &str = "host/src/engine/";
const COMPONENT: &str = "host/crates/component/";
const COMPONENT_TESTS: [&str; 2] = ["/tests.rs", "/linear.rs"];
const TLS: &str = "host/src/server/tls/";
const TERMINAL: &str = "host/src/terminal.rs";

/// The client's TLS: the only other user of rustls.
const CLIENT_TLS: &str = "host/src/outbound/tls.rs";
const HTTP1: [&str; 2] = ["host/crates/fields/src/", "host/crates/http1/src/"];

/// Names of files, sockets and clocks. `Instant` is not among them, because the state machine
/// receives the time as one, and neither is `IpAddr`, because a client may send an address.
const OUTSIDE_WORLD: [&str; 13] = [
    "File",
    "OpenOptions",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "elapsed",
    "fs",
    "rustix",
    "socket2",
];

/// The parts of the host that know the whole configuration. All others get their own section of it.
/// The engine is listed because it still uses types of the configuration.
const OVER_CONFIG: [&str; 5] = [
    "host/src/cli",
    "host/src/commands/",
    "host/src/config/",
    "host/src/engine/",
    "host/src/supervisor/",
];

/// mio is used only under `server/`.
fn mio_is_in_the_server(file: &File) -> Vec<Complaint> {
    if !is_of_the_host(file) || file.path.starts_with(SERVER) {
        return Vec::new();
    }
    complain(file, &code(&file.text), |word| word == "mio", SERVER)
}

/// wasmtime and its crates are used only under `engine/`, except by tests that run a module that
/// they have built.
fn wasmtime_is_in_the_engine(file: &File) -> Vec<Complaint> {
    if !is_of_the_host(file) || file.path.starts_with(ENGINE) {
        return Vec::new();
    }
    let code = match file.path.starts_with(COMPONENT) {
        true if COMPONENT_TESTS.iter().any(|end| file.path.ends_with(end)) => return Vec::new(),
        true => code_before_tests(&file.text),
        false => code(&file.text),
    };
    complain(file, &code, |word| word.starts_with("wasmtime"), ENGINE)
}

/// rustls is used only under `server/tls/` and for the client's TLS.
fn rustls_is_in_tls(file: &File) -> Vec<Complaint> {
    let is_inside = file.path.starts_with(TLS) || file.path == CLIENT_TLS;
    if !is_of_the_host(file) || is_inside {
        return Vec::new();
    }
    complain(file, &code(&file.text), |word| word == "rustls", TLS)
}

/// The HTTP core uses no files, sockets or clocks. Its tests may read the clock.
fn http1_is_without_io(file: &File) -> Vec<Complaint> {
    let is_inside = HTTP1.iter().any(|folder| file.path.starts_with(folder));
    if !is_inside || file.path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let code = code_before_tests(&file.text);
    let outside = "the code around http1";
    let mut complaints = complain(file, &code, |word| OUTSIDE_WORLD.contains(&word), outside);
    for window in code.windows(4) {
        if window
            .iter()
            .map(|token| token.text)
            .eq(["Instant", ":", ":", "now"])
        {
            complaints.push(Complaint::new(
                file,
                window[0].line,
                "the time comes from outside",
            ));
        }
    }
    complaints
}

/// Whether an output has colours is decided in one place.
fn colours_are_decided_in_one_place(file: &File) -> Vec<Complaint> {
    if !is_of_the_host(file) || file.path == TERMINAL {
        return Vec::new();
    }
    let text = file.text.split("#[cfg(test)]").next().unwrap_or_default();
    let named = (1..).zip(text.lines());
    named
        .filter(|(_, line)| line.contains("\"NO_COLOR\""))
        .map(|(line, _)| Complaint::new(file, line, format!("`NO_COLOR` belongs in {TERMINAL}")))
        .collect()
}

/// What `config` combines doesn't name it: each part defines its own section.
fn config_is_above_its_sections(file: &File) -> Vec<Complaint> {
    let is_over = OVER_CONFIG.iter().any(|over| file.path.starts_with(over));
    if is_over || !is_of_the_host(file) {
        return Vec::new();
    }
    let code = code_before_tests(&file.text);
    let uses = code.windows(4).filter(|window| {
        let words = window.iter().map(|token| token.text);
        words.eq(["crate", ":", ":", "config"])
    });
    uses.map(|window| Complaint::new(file, window[0].line, "names the whole configuration"))
        .collect()
}

/// Returns whether a file is a Rust source of the host. Manifests name the fenced crates.
fn is_of_the_host(file: &File) -> bool {
    file.path.starts_with(HOST) && file.extension() == "rs"
}

fn complain(
    file: &File,
    code: &[Token<'_>],
    is_foreign: impl Fn(&str) -> bool,
    home: &str,
) -> Vec<Complaint> {
    let foreign = code.iter().filter(|token| is_foreign(token.text));
    foreign
        .map(|token| {
            Complaint::new(
                file,
                token.line,
                format!("`{}` belongs in {home}", token.text),
            )
        })
        .collect()
}

#[test]
fn the_fences_stand() {
    assert_tidy(&[
        mio_is_in_the_server,
        wasmtime_is_in_the_engine,
        rustls_is_in_tls,
        http1_is_without_io,
        config_is_above_its_sections,
        colours_are_decided_in_one_place,
    ]);
}

#[test]
fn mio_outside_of_the_server_is_found() {
    let rule = mio_is_in_the_server;
    assert_eq!(
        lines(rule, "host/src/reload/mod.rs", "//! mio\nuse mio::Poll;"),
        [2]
    );
    assert_eq!(
        lines(rule, "host/src/serverless.rs", "fn f(_: mio::Token) {}"),
        [1]
    );
    assert!(lines(rule, "host/src/server/mod.rs", "use mio::Poll;").is_empty());
    assert!(lines(rule, "host/src/cli.rs", "// mio\nconst A: &str = \"mio\";").is_empty());
}

#[test]
fn wasmtime_outside_of_the_engine_is_found() {
    let rule = wasmtime_is_in_the_engine;
    assert_eq!(lines(rule, "host/src/cli.rs", "use wasmtime::Engine;"), [1]);
    assert_eq!(
        lines(rule, "host/src/cli.rs", "\nuse wasmtime_wasi::p2;"),
        [2]
    );
    assert!(lines(rule, "host/src/engine/load.rs", "use wasmtime::Engine;").is_empty());
    let used = "use wasmtime::Engine;";
    let tested = "#[cfg(test)]\nmod tests { use wasmtime::Engine; }";
    assert_eq!(lines(rule, "host/crates/component/src/abi.rs", used), [1]);
    assert!(lines(rule, "host/crates/component/src/abi.rs", tested).is_empty());
    assert!(lines(rule, "host/crates/component/src/fuse/tests.rs", used).is_empty());
}

#[test]
fn rustls_outside_of_tls_is_found() {
    let rule = rustls_is_in_tls;
    let text = "// rustls\nuse rustls::ServerConfig;";
    assert_eq!(lines(rule, "host/src/server/transport.rs", text), [2]);
    assert!(lines(rule, "host/src/server/tls/session.rs", text).is_empty());
    assert!(lines(rule, "tests/support/tls.rs", text).is_empty());
}

#[test]
fn another_place_that_decides_on_colours_is_found() {
    let rule = colours_are_decided_in_one_place;
    let text = "// NO_COLOR\nlet off = env::var_os(\"NO_COLOR\");\n#[cfg(test)]\nconst A: &str = \"NO_COLOR\";";
    assert_eq!(lines(rule, "host/src/commands/dev.rs", text), [2]);
    assert!(lines(rule, "host/src/terminal.rs", text).is_empty());
}

#[test]
fn io_in_http1_is_found() {
    let rule = http1_is_without_io;
    for line in [
        "use std::fs;",
        "use std::{fs, io};",
        "use std::net::TcpStream;",
        "let now = Instant::now();",
        "let now = std::time::Instant\n    ::now();",
        "let since = start.elapsed();",
        "use std::time::SystemTime;",
    ] {
        assert_eq!(
            lines(rule, "host/crates/http1/src/head.rs", line).len(),
            1,
            "{line}"
        );
    }
}

#[test]
fn http1_may_know_instants_and_its_tests_the_time() {
    let rule = http1_is_without_io;
    let fine = "use std::net::Ipv6Addr;\nuse std::time::Instant;\nfn f(now: Instant) {}\n// Instant::now\n\
                #[cfg(test)]\nmod tests { fn t() { Instant::now(); } }";
    assert!(lines(rule, "host/crates/http1/src/head.rs", fine).is_empty());
    assert!(
        lines(
            rule,
            "host/crates/http1/src/body/tests.rs",
            "Instant::now();"
        )
        .is_empty()
    );
    assert!(lines(rule, "host/src/server/mod.rs", "Instant::now();").is_empty());
}
