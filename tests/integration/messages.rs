//! Messages for the mistakes of new users: each gets one line that says what to do.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::support::command::{code_cache, run, wasgi};
use crate::support::process::{Ended, Process};
use crate::support::site::Site;

/// Returns the line with which `wasgi serve` rejects a site with these flags.
#[track_caller]
fn refusal(site: &Path, flags: &[&str]) -> String {
    let mut command = wasgi(["serve", "--code-cache", "none"]);
    let ended = Process::start(command.args(flags).arg(site)).wait();
    ended.refusal().to_owned()
}

/// Returns the message of a usage error, which has exit code 2.
#[track_caller]
fn usage(arguments: &[&str]) -> String {
    let ended = run(arguments);
    assert_eq!(ended.status.code(), Some(2), "{}", ended.everything());
    ended.stderr.join("\n")
}

#[test]
fn an_address_that_cant_be_had_is_told_with_what_to_do() {
    let site = Site::new().with_page("index.html", "the page");
    let refusal = |flags: &[&str]| refusal(site.path(), flags);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    // RFC 5737 and RFC 3849: reserved for documentation, so no machine has these addresses.
    for (addr, said) in [
        ("192.0.2.1:8080", "this machine has no address 192.0.2.1"),
        ("[2001:db8::1]:8080", "this machine has no "),
        (&taken, "is taken by another program"),
    ] {
        for flags in [&["--addr", addr][..], &["--processes", "2", "--addr", addr]] {
            let line = refusal(flags);
            assert!(line.contains(addr) && line.contains(said), "{line}");
            assert!(line.contains("`--addr "), "it says what to do: {line}");
        }
    }
    let line = refusal(&["--addr", "127.0.0.1:0", "--redirect-http", &taken]);
    assert!(line.contains("--redirect-http"), "{line}");
}

#[test]
fn a_port_that_needs_a_privilege_is_told_with_another_one() {
    const SETTING: &str = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let first = std::fs::read_to_string(SETTING).unwrap_or_default();
    if first.trim().parse::<u16>().is_ok_and(|first| first <= 80) {
        println!("skipped: port 80 needs no privilege here");
        return;
    }
    let site = Site::new().with_page("index.html", "the page");
    let mut command = wasgi(["serve", "--code-cache", "none", "--addr", "127.0.0.1:80"]);
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        let mode = PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(site.path(), mode).expect("a mode");
        // The user `nobody`: changing to it drops all capabilities.
        command.uid(65_534);
    }
    let ended = Process::start(command.arg(site.path())).wait();
    let line = ended.refusal();
    let said = "127.0.0.1:80: ports below 1024 need a privilege: use `--addr 127.0.0.1:8080`, or \
                grant CAP_NET_BIND_SERVICE";
    assert!(line.contains(said), "{line}");
}

#[test]
fn an_address_is_taken_as_people_write_it() {
    let addr = |flag: &str| {
        let ended = run(["config", "--addr", flag]);
        assert!(ended.status.success(), "{}", ended.everything());
        let mut lines = ended.stdout.into_iter();
        lines
            .find(|line| line.starts_with("addr = "))
            .expect("it is printed")
    };
    for flag in ["8000", ":8000", "localhost:8000", "127.0.0.1:8000"] {
        assert!(
            addr(flag).starts_with("addr = \"127.0.0.1:8000\""),
            "{flag}"
        );
    }
    assert!(addr("[::1]:80").starts_with("addr = \"[::1]:80\""));
    for (flag, said) in [
        ("localhost", "the port is missing: write \"localhost:8000\""),
        ("::1", "must be in brackets"),
        (
            "no-such-host.invalid:80",
            "no-such-host.invalid does not resolve",
        ),
        ("http://localhost:8000", "not a URL"),
        ("*:80", "write \"0.0.0.0:80\""),
    ] {
        let usage = usage(&["serve", "--addr", flag]);
        assert!(usage.contains(said), "{flag}: {usage}");
    }
}

#[test]
fn a_file_in_place_of_a_site_is_told_with_where_to_put_it() {
    let site = Site::new();
    for (name, content, said) in [
        (
            "hello.wasm",
            "\0asm",
            "hello.wasm is a file: put it into SITE/handlers, then `wasgi serve SITE`",
        ),
        ("wasgi.toml", "", "is a file: name its folder"),
        ("app.py", "import os", "python -m wasgi build"),
        ("index.html", "<html>", "put it into SITE/html"),
        ("program", "\x7fELF", "an ELF program, not WebAssembly"),
        (
            "flask.whl",
            "PK\x03\x04",
            "a zip archive, such as a wheel, not WebAssembly",
        ),
    ] {
        let file = site.path().join(name);
        std::fs::write(&file, content).expect("written");
        let path = file.to_str().expect("text");
        for arguments in [&["serve", path][..], &["routes", path], &["config", path]] {
            let ended = run(arguments);
            let line = ended.refusal();
            assert!(line.contains(said), "{arguments:?}: {line}");
        }
        let ended = run(["run", "hello", "--site", path]);
        assert!(ended.refusal().contains(said), "{}", ended.everything());
    }
    let folder = site.path().to_str().expect("text");
    let ended = run(["serve", "--config", folder, folder]);
    let line = ended.refusal();
    assert!(line.contains("is a folder: name the file"), "{line}");
}

#[test]
fn a_file_that_is_no_webassembly_is_named() {
    let site = Site::new();
    for (name, content, said) in [
        (
            "elf",
            &b"\x7fELF\x02\x01\x01"[..],
            "an ELF program, not WebAssembly",
        ),
        (
            "wheel",
            b"PK\x03\x04\x14\0",
            "a zip archive, such as a wheel, not WebAssembly",
        ),
        ("gz", b"\x1f\x8b\x08\0", "gzip data, not WebAssembly"),
        (
            "page",
            b"<!doctype html><p>",
            "an HTML page, not WebAssembly",
        ),
        ("script", b"#!/bin/sh\n", "a script, not WebAssembly"),
        ("cut", b"\0asm\x0d", "cut off after 5 bytes"),
        ("source", b"print(1)\n", "neither WebAssembly nor its text"),
    ] {
        let file = format!("{name}.wasm");
        site.write_handler(&file, content);
        let path = site.handlers().join(&file);
        let path = path.to_str().expect("text");
        for command in ["run", "check"] {
            let ended = with_cache(&[command, path]);
            assert!(!ended.status.success(), "{}", ended.everything());
            assert!(ended.everything().contains(said), "{}", ended.everything());
        }
    }
    let mut routes = wasgi(["routes", "--code-cache", "none"]);
    let ended = Process::start(routes.arg(site.path())).wait();
    for said in ["an ELF program", "a zip archive", "gzip data", "cut off"] {
        let problems = ended.stdout.iter().filter(|line| line.contains(said));
        assert_eq!(problems.count(), 1, "{}", ended.everything());
    }
}

#[test]
fn an_unknown_flag_is_told_with_the_one_that_was_meant() {
    let port = usage(&["serve", "--port", "8000"]);
    assert!(
        port.contains("did you mean `--addr 127.0.0.1:8000`?"),
        "{port}"
    );
    assert!(!port.contains("as a value"), "{port}");
    let site = usage(&["."]);
    assert!(site.contains("did you mean `wasgi serve .`?"), "{site}");
}

#[test]
fn wasgi_run_takes_a_path_without_a_method() {
    let site = Site::new().with_cases(["variables"]);
    let file = site.handlers().join("variables.wasm");
    let file = file.to_str().expect("text");
    for (arguments, line) in [
        (&[file, "/variables?a=b"][..], "QUERY_STRING"),
        (&[file, "?a=b"], "QUERY_STRING"),
        (&[file], "REQUEST_METHOD"),
    ] {
        let ended = with_cache(&[&["run"], arguments].concat());
        assert!(ended.status.success(), "{}", ended.everything());
        let has_line = |wanted: &str| ended.stdout.iter().any(|line| line.contains(wanted));
        assert!(has_line(line) && has_line("GET"), "{}", ended.everything());
    }
    let missing = with_cache(&["run", "no-such.wasm"]);
    let said = missing.refusal().to_owned();
    assert!(said.ends_with("there is no file no-such.wasm"), "{said}");
    let folder = site.path().to_str().expect("text");
    let folder = with_cache(&["run", folder]);
    assert!(
        folder
            .refusal()
            .contains("is a folder, but not an application"),
        "{}",
        folder.everything()
    );
    let swapped = with_cache(&["run", file, "/variables", "POST"]);
    let said = "the method goes before the path: wasgi run ";
    assert!(swapped.refusal().contains(said), "{}", swapped.everything());
}

#[test]
fn a_path_that_no_client_sends_is_told_with_how_it_is_written() {
    let site = Site::new().with_page_handler("hello", "hello");
    let file = site.handlers().join("hello.wat");
    let file = file.to_str().expect("text");
    for (path, said) in [
        ("/a b", "the path has a space: write %20"),
        ("/ü", "the path has ü: write %C3%BC"),
        ("/a#b", "is not sent to a server"),
        ("hello", "the path begins with a slash: write \"/hello\""),
    ] {
        let ended = with_cache(&["run", file, "GET", path]);
        assert!(ended.refusal().contains(said), "{}", ended.everything());
        let ended = with_cache(&["check", file, "--path", path]);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.everything());
        assert!(ended.everything().contains(said), "{}", ended.everything());
    }
}

#[test]
fn wasgi_wit_writes_the_contract_and_leaves_other_files_alone() {
    let site = Site::bare();
    let folder = site.path().join("wit");
    let path = folder.to_str().expect("text");
    for said in ["wrote ", "is up to date"] {
        let ended = run(["wit", path]);
        assert!(ended.status.success(), "{}", ended.everything());
        assert!(
            ended.stdout.join("").contains(said),
            "{}",
            ended.everything()
        );
    }
    let written = std::fs::read_to_string(folder.join("gateway.wit")).expect("it is there");
    assert_eq!(written, include_str!("../../wit/gateway.wit"));
    std::fs::write(folder.join("gateway.wit"), "mine").expect("written");
    assert!(
        run(["wit", path])
            .refusal()
            .contains("contains other files")
    );
    let other = run(["wit", "--world", "acme:app/world", path]);
    assert!(
        other.refusal().contains("there is no such world"),
        "{}",
        other.everything()
    );
}

#[test]
fn wasgi_wit_writes_wasi_http_from_the_sources_that_cargo_keeps() {
    let site = Site::bare();
    let (cargo, folder) = (site.path().join("cargo"), site.path().join("wit"));
    let ask = |world: &str| {
        let mut command = wasgi(["wit", "--world", world]);
        Process::start(command.arg(&folder).env("CARGO_HOME", &cargo)).wait()
    };
    assert!(ask("wasi:http").refusal().contains("cargo fetch"));

    let sources = cargo.join("registry/src/index-1/wasmtime-wasi-http-48.9.9/wit/deps");
    std::fs::create_dir_all(&sources).expect("made");
    let text = "package wasi:http@0.2.12;\n\nworld proxy {\n}\n";
    std::fs::write(sources.join("http.wit"), text).expect("written");
    let written = ask("wasi:http/proxy@0.2.10");
    assert!(written.status.success(), "{}", written.everything());
    let read = |name| std::fs::read_to_string(folder.join(name)).expect("it is there");
    assert_eq!(read("deps/http.wit"), text.replace("0.2.12", "0.2.10"));
    assert!(read("world.wit").contains("world proxy {\n  include wasi:http/proxy@0.2.10;"));
    // The folder already contains another version.
    assert!(
        ask("wasi:http/proxy")
            .refusal()
            .contains("contains other files")
    );

    for (world, said) in [
        ("wasi:http/proxy@0.3.0", "0.2.2 to 0.2.12"),
        ("wasi:sockets", "wasi:http/proxy"),
    ] {
        assert!(ask(world).refusal().contains(said), "{world}");
    }
}

/// Runs the program with the tests' code cache.
fn with_cache(arguments: &[&str]) -> Ended {
    let mut command = wasgi(arguments);
    Process::start(command.arg("--code-cache").arg(code_cache())).wait()
}
