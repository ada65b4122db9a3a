//! What commands and the settings of the site do with virtual hosts.

use std::fs;

use super::{TWO, get, put, site};
use crate::dev::dev;
use crate::projects::{Workshop, has, page_in_wat};
use crate::support::attempts::configure;
use crate::support::command::run;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::{eventually, guests};

#[test]
fn a_site_that_answers_no_host_loads_none_of_its_handlers() {
    let none = format!("[site]\ndefault-host = false\n{TWO}");
    let site = site(&none);
    put(&site, "handlers/broken.wat", "(broken");
    let server = Server::new(&site);
    let log = server.access_log();
    log.expect(&["//a.test/hello"]);
    log.expect(&["all handlers are loaded"]);
    let is_told = |text: &str| log.lines().iter().any(|line| line.contains(text));
    assert!(!is_told("broken"), "{:?}", log.lines());
    assert!(!is_told("except"), "{:?}", log.lines());
    assert_eq!(get(&server, "c.test", "/hello").status(), 421);

    // The key is live, both ways.
    configure(&site, TWO);
    eventually("the site itself is served", || {
        get(&server, "c.test", "/hello").text() == "hello from the site itself"
    });
    server.error_log().expect(&["handlers/broken.wat: "]);
    put(&site, "handlers/late.wat", guests::page("late"));
    eventually("it is followed", || {
        get(&server, "c.test", "/late").text() == "late"
    });
    configure(&site, &none);
    eventually("it is not served any more", || {
        get(&server, "c.test", "/hello").status() == 421
    });
    assert_eq!(get(&server, "a.test", "/hello").text(), "hello from a.test");
    drop(server);

    let path = site.path().to_str().expect("text");
    let all = run(["routes", path]).everything();
    assert!(all.contains("//a.test/hello"), "{all}");
    assert!(!all.contains("broken"), "{all}");
}

#[test]
fn development_serves_the_site_itself_though_it_answers_no_host() {
    let none = format!("[site]\ndefault-host = false\n{TWO}");
    let site = site(&none);
    let server = dev(&site);
    eventually("the site itself is served", || {
        get(&server, "localhost", "/hello").text() == "hello from the site itself"
    });
    // A changed configuration leaves it so.
    configure(&site, &format!("{none}[pages]\nclean-urls = true\n"));
    put(&site, "html/about.html", "about");
    eventually("the configuration is applied", || {
        get(&server, "localhost", "/about").text().contains("about")
    });
    let hello = get(&server, "localhost", "/hello");
    assert_eq!(hello.text(), "hello from the site itself");
}

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

#[test]
fn projects_of_hosts_are_built_and_followed() {
    if !has("make", &["--version"]) {
        return;
    }
    let workshop = Workshop::new();
    let site = &workshop.site;
    configure(site, "[site]\nbuild = true\n[hosts.\"a.test\"]\n");
    let makefile = "all:\n\tcp page.wat $(OUT)\n";
    for host in ["a.test", "b.test"] {
        let folder = format!("hosts/{host}/handlers/make");
        put(site, &format!("{folder}/Makefile"), makefile);
        put(site, &format!("{folder}/page.wat"), page_in_wat(host));
    }
    let mut command = workshop.command(&["serve", "--addr", "127.0.0.1:0"]);
    let server = Server::started(Process::start(command.arg(site.path())));
    let until = |host: &str, text: &str| {
        eventually(&format!("{host} responds with {text}"), || {
            get(&server, host, "/make").text() == text
        });
    };
    until("a.test", "a.test");
    let log = server.error_log();
    log.expect(&["handlers/make: built in ", "(host a.test)"]);
    put(
        site,
        "hosts/a.test/handlers/make/page.wat",
        page_in_wat("new"),
    );
    until("a.test", "new");
    put(
        site,
        "hosts/a.test/handlers/make/Makefile",
        "all:\n\tfalse\n",
    );
    log.expect(&["handlers/make: not built: ", "(host a.test)"]);
    assert_eq!(get(&server, "a.test", "/make").text(), "new");
    // A host that is added has its projects built.
    configure(
        site,
        "[site]\nbuild = true\n[hosts.\"a.test\"]\n[hosts.\"b.test\"]\n",
    );
    until("b.test", "b.test");
}
