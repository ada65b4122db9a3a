//! What commands and the settings of the site do with virtual hosts.

use std::fs;

use super::{put, site};
use crate::support::command::run;
use crate::support::guests;

#[test]
fn handlers_of_a_host_run_without_a_server() {
    let site = site(
        "[hosts.\"a.test\"]\naliases = [\"www.a.test\"]\n[hosts.\"*.b.test\"]\nfolder = \"wild\"\n\
         [handlers.grants]\nenvironment = { A = \"site\" }\n\
         [hosts.\"a.test\".handlers.grants]\nenvironment = { A = \"a\" }\n\
         key-value = [\"default\"]\n",
    );
    for folder in ["handlers", "hosts/a.test/handlers"] {
        for name in ["grants", "variables"] {
            let handler = fs::read(guests::case(name)).expect("it is built");
            put(&site, &format!("{folder}/{name}.wasm"), handler);
        }
    }
    let variables = fs::read(guests::case("variables")).expect("it is built");
    put(&site, "wild/handlers/variables.wasm", variables);
    let path = site.path().to_str().expect("text");
    let ask = |arguments: &[&str]| {
        let ended = run([&["run", "--site", path], arguments].concat());
        ended.expect_success();
        ended.stdout.join("\n")
    };
    let variable = ["grants", "?variable=A", "--body-only"];
    assert_eq!(ask(&variable), "site");
    for host in ["a.test", "WWW.a.test"] {
        assert_eq!(ask(&[&["--host", host], &variable[..]].concat()), "a");
    }
    // The Host field is the host's, and its buckets are those that a server uses.
    for (host, field) in [
        ("www.a.test", "www.a.test"),
        ("x.b.test", "x.b.test"),
        ("*.b.test", "www.b.test"),
    ] {
        let all = ask(&["variables", "--host", host]);
        let line = format!("HTTP_HOST={field}");
        assert!(all.lines().any(|one| one == line), "{all}");
    }
    ask(&["grants", "?kv=default,set,k,one", "--host", "a.test"]);
    let ended = run([
        "state",
        "get",
        "handler://a.test/grants/default",
        "k",
        "--site",
        path,
    ]);
    assert_eq!(ended.stdout, ["one"], "{}", ended.everything());

    let file = site.path().join("hosts/a.test/handlers/hello.wat");
    let file = file.to_str().expect("text");
    let ended = run(["check", file, "--site", path, "--host", "a.test"]);
    assert!(
        ended.everything().contains("no problems"),
        "{}",
        ended.everything()
    );

    put(
        &site,
        "hosts/a.test/tests/hello.hurl",
        "GET http://a.test/hello\nHTTP 200\n[Asserts]\nbody == \"hello from a.test\"\n\
         GET http://a.test/grants?variable=A\nHTTP 200\n[Asserts]\nbody == \"a\"\n",
    );
    let ended = run(["test", "--site", path, "--host", "a.test"]);
    ended.expect_success();
    assert!(
        ended.everything().contains("1 passed, 0 failed"),
        "{}",
        ended.everything()
    );

    for (host, told) in [
        (
            "a.tset",
            "--host: no virtual host a.tset; did you mean a.test?",
        ),
        (
            "zzz",
            "--host: no virtual host zzz: add its table [hosts.\"zzz\"]",
        ),
    ] {
        let ended = run(["run", "hello", "--site", path, "--host", host]);
        let refusal = ended.refusal();
        assert!(refusal.contains(told), "{refusal}");
    }
}
