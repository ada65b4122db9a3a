//! Virtual hosts: several sites in one process, each with its own pages, handlers, grants and
//! certificate.

mod commands;
mod many;
mod upgrades;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::admin::{ANY_PORT, address, get as get_admin, status};
use crate::support::attempts::configure;
use crate::support::client::Ending;
use crate::support::command::run;
use crate::support::response::Response;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};
use crate::support::{eventually, guests};

/// Two hosts with their default folders.
const TWO: &str = "[hosts.\"a.test\"]\n[hosts.\"b.test\"]\n";

/// Writes a file below the site's folder atomically.
fn put(site: &Site, file: &str, content: impl AsRef<[u8]>) {
    let (file, aside) = (site.path().join(file), site.path().join("aside"));
    fs::create_dir_all(file.parent().expect("it is in a folder")).expect("a folder");
    fs::write(&aside, content).expect("written");
    fs::rename(aside, file).expect("renamed");
}

/// Adds a page and a handler `hello` to the folders of a host. Both answer with its name.
fn add_host(site: &Site, host: &str) {
    put(site, &format!("hosts/{host}/html/index.html"), host);
    let handler = guests::page(&format!("hello from {host}"));
    put(site, &format!("hosts/{host}/handlers/hello.wat"), handler);
}

/// Creates a site with the hosts `a.test` and `b.test`, and a configuration.
fn site(text: &str) -> Site {
    let site = Site::new()
        .with_page("index.html", "the site itself")
        .with_page("404.html", "not found in the site itself")
        .with_page_handler("hello", "hello from the site itself");
    add_host(&site, "a.test");
    add_host(&site, "b.test");
    configure(&site, text);
    site
}

/// Sends a request with this target and these Host fields on a new connection.
#[track_caller]
fn send(server: &Server, target: &str, fields: &str) -> Response {
    let mut client = server.connect();
    client.send(format!(
        "GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n"
    ));
    let response = client.response();
    assert_eq!(client.ending(), Ending::Closed, "after {target}");
    response
}

#[track_caller]
fn get(server: &Server, host: &str, target: &str) -> Response {
    send(server, target, &format!("Host: {host}\r\n"))
}

#[test]
fn each_host_has_its_own_pages_and_handlers() {
    let site = site(
        "[hosts.\"a.test\"]\naliases = [\"www.a.test\", \"127.0.0.1\"]\n\
         [hosts.\"a.test\".pages]\nclean-urls = true\n[hosts.\"b.test\"]\n\
         [hosts.\"*.b.test\"]\nfolder = \"wild\"\n",
    );
    put(&site, "hosts/a.test/html/404.html", "not found in a.test");
    put(&site, "hosts/a.test/html/about.html", "about a.test");
    put(&site, "hosts/b.test/html/about.html", "about b.test");
    let only = guests::page("only in b.test");
    put(&site, "hosts/b.test/handlers/only.wat", only);
    put(&site, "wild/html/index.html", "any name below b.test");
    let server = Server::new(&site);
    for (host, target, status, text) in [
        ("a.test", "/", 200, "a.test"),
        ("a.test", "/hello", 200, "hello from a.test"),
        ("b.test", "/", 200, "b.test"),
        ("b.test", "/hello", 200, "hello from b.test"),
        ("b.test", "/only", 200, "only in b.test"),
        ("a.test", "/only", 404, "not found in a.test"),
        ("other.test", "/only", 404, "not found in the site itself"),
        ("other.test", "/", 200, "the site itself"),
        ("other.test", "/hello", 200, "hello from the site itself"),
        ("test", "/", 200, "the site itself"),
        // Neither case nor port nor a dot at the end matter.
        ("A.Test", "/hello", 200, "hello from a.test"),
        ("a.test:8443", "/hello", 200, "hello from a.test"),
        ("a.test.:80", "/hello", 200, "hello from a.test"),
        ("a.test:", "/hello", 200, "hello from a.test"),
        ("www.a.test", "/hello", 200, "hello from a.test"),
        ("127.0.0.1:8000", "/hello", 200, "hello from a.test"),
        ("x.b.test", "/", 200, "any name below b.test"),
        ("x.y.b.test", "/", 200, "the site itself"),
        ("xb.test", "/", 200, "the site itself"),
        // The settings of pages are those of the host.
        ("a.test", "/about", 200, "about a.test"),
        // An absolute target takes precedence over the Host field (RFC 9112 section 3.2.2).
        ("a.test", "http://b.test/hello", 200, "hello from b.test"),
        ("b.test", "http://A.TEST:80/hello", 200, "hello from a.test"),
        (
            "a.test",
            "http://other.test/hello",
            200,
            "hello from the site itself",
        ),
    ] {
        let response = get(&server, host, target);
        let found = (response.status(), response.text());
        assert_eq!(found, (status, text), "{host} {target}");
    }
    assert_eq!(get(&server, "b.test", "/about").status(), 404);
    // A request of HTTP/1.0 may have no Host.
    let mut client = server.connect();
    client.send("GET /hello HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "hello from the site itself");
    // Requests of one connection can be for several hosts.
    let mut client = server.connect();
    for (host, text) in [
        ("a.test", "a.test"),
        ("b.test", "b.test"),
        ("c", "the site itself"),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), text);
    }
    // The log names the host.
    server
        .access_log()
        .expect(&["GET /only HTTP/1.1", " //b.test/only"]);
    server
        .access_log()
        .expect(&["GET /only HTTP/1.1", " 404 ", " //a.test/-"]);
    assert!(!server.stop().has_complaints());
}

#[test]
fn an_unknown_host_is_refused_without_a_default_whatever_it_is() {
    let site = site(&format!("{ANY_PORT}[site]\ndefault-host = false\n{TWO}"));
    fs::remove_dir_all(site.html()).expect("removed");
    fs::remove_dir_all(site.handlers()).expect("removed");
    let server = Server::new(&site);
    assert_eq!(get(&server, "a.test", "/hello").text(), "hello from a.test");
    let long = "a.".repeat(4_000) + "test";
    let other = "x".repeat(300) + ".a.test";
    for host in [
        "test",
        "a.test.evil.test",
        "c.a.test",
        "xn--a.test",
        "%61.test",
        "[::1]",
        "a..test",
        ".a.test",
        "*.test",
        &long,
        &other,
    ] {
        let response = get(&server, host, "/hello");
        assert_eq!(response.status(), 421, "{host}");
        assert_eq!(response.head.reason, "Misdirected Request");
        assert!(response.text().contains("doesn&#39;t serve this host"));
    }
    for number in 0..2_000 {
        let mut client = server.connect();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: host-{number}.test\r\n\r\n"
        ));
        assert_eq!(client.response().status(), 421);
    }
    for (target, fields) in [
        ("/", ""),
        ("/", "Host: \r\n"),
        ("/", "Host: a.test\r\nHost: a.test\r\n"),
        ("/", "Host: a.test\r\nHost: b.test\r\n"),
        ("/", "Host: user@a.test\r\n"),
        ("/", "Host: a.test/\r\n"),
        ("/", "Host: a.test, b.test\r\n"),
        ("http://user@a.test/", "Host: a.test\r\n"),
        ("http:///", "Host: a.test\r\n"),
    ] {
        assert_eq!(
            send(&server, target, fields).status(),
            400,
            "{target} {fields}"
        );
    }
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status(), 421);
    let mut client = server.connect();
    client.send("OPTIONS * HTTP/1.1\r\nHost: c.test\r\n\r\n");
    assert_eq!(client.response_to("OPTIONS").status(), 204);
    // The connection goes on after a refusal.
    client.send("GET / HTTP/1.1\r\nHost: c.test\r\n\r\n");
    assert_eq!(client.response().status(), 421);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().text(), "a.test");

    // No client chooses a label.
    let metrics = get_admin(address(&server), "/metrics").text().to_owned();
    let hosts = metrics.split("host=\"").skip(1);
    let hosts: std::collections::BTreeSet<&str> =
        hosts.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(Vec::from_iter(hosts), ["a.test", "b.test"]);
    assert!(
        metrics
            .contains(r#"wasgi_http_requests_total{handler="hello",host="a.test",code="2xx"} 1"#),
        "{metrics}"
    );
    let status = status(address(&server));
    let handlers = status["handlers"].as_array().expect("a list").iter();
    let handlers: Vec<_> = handlers
        .map(|one| [&one["name"], &one["route"], &one["host"]].map(|it| it.as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        handlers,
        [
            ["//a.test/hello", "//a.test/hello", "a.test"],
            ["//b.test/hello", "//b.test/hello", "b.test"],
        ]
    );
}

#[test]
fn a_host_has_its_certificate_and_a_connection_is_for_one() {
    let site = site("");
    let certificates = ["default", "a", "b"].map(|name| {
        let folder = site.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        let host = match name {
            "default" => "localhost".to_owned(),
            name => format!("{name}.test"),
        };
        Certificate::make_for(&folder, &host)
    });
    let [default, a, b] = &certificates;
    add_host(&site, "c.test");
    configure(
        &site,
        "[tls]\ncert = \"default/cert.pem\"\nkey = \"default/key.pem\"\n\
         [hosts.\"a.test\"]\ncert = \"a/cert.pem\"\nkey = \"a/key.pem\"\n\
         [hosts.\"b.test\"]\ncert = \"b/cert.pem\"\nkey = \"b/key.pem\"\n[hosts.\"c.test\"]\n",
    );
    let server = Server::new(&site);
    let misdirected = "opened for another host";
    for (name, trusted, host, text) in [
        ("a.test", a, "a.test", "hello from a.test"),
        ("b.test", b, "B.TEST:443", "hello from b.test"),
        (
            "localhost",
            default,
            "localhost",
            "hello from the site itself",
        ),
        // A certificate of several names serves them all on one connection.
        ("localhost", default, "c.test", "hello from c.test"),
        ("a.test", a, "b.test", misdirected),
        ("a.test", a, "localhost", misdirected),
        ("a.test", a, "c.test", misdirected),
        ("localhost", default, "a.test", misdirected),
    ] {
        let mut client = TlsClient::connect_to(server.addr(), name, trusted);
        let answer = client.get_from(host, "/hello").expect("a whole answer");
        let status = if text == misdirected {
            " 421 "
        } else {
            " 200 "
        };
        let line = answer.lines().next().unwrap_or_default();
        assert!(
            line.contains(status) && answer.contains(text),
            "{name} {host}: {answer}"
        );
    }
    // A target with another host than the Host field.
    let mut client = TlsClient::connect_to(server.addr(), "a.test", a);
    let answer = client.get_from("a.test", "https://b.test/hello");
    assert!(answer.expect("an answer").contains(" 421 "));

    // The certificate of one host is replaced. The others stay.
    let new = Certificate::make_for(&site.path().join("b"), "b.test");
    eventually("the new certificate is served", || {
        let mut client = TlsClient::connect_to(server.addr(), "b.test", &new);
        client.get_from("b.test", "/hello").is_ok()
    });
    let mut client = TlsClient::connect_to(server.addr(), "a.test", a);
    assert!(client.get_from("a.test", "/hello").is_ok());

    // A host that is added has its certificate at once.
    let added = site.path().join("d");
    fs::create_dir(&added).expect("a folder");
    let d = Certificate::make_for(&added, "d.test");
    add_host(&site, "d.test");
    configure(
        &site,
        "[tls]\ncert = \"default/cert.pem\"\nkey = \"default/key.pem\"\n\
         [hosts.\"d.test\"]\ncert = \"d/cert.pem\"\nkey = \"d/key.pem\"\n",
    );
    eventually("the host is added", || {
        let mut client = TlsClient::connect_to(server.addr(), "d.test", &d);
        let answer = client.get_from("d.test", "/hello");
        answer.is_ok_and(|answer| answer.contains("hello from d.test"))
    });
    let mut client = TlsClient::connect_to(server.addr(), "a.test", a);
    assert!(client.get_from("a.test", "/hello").is_err());
}

#[test]
fn hosts_come_and_go_while_others_serve() {
    let site = site(TWO);
    let server = Server::new(&site);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut client = server.connect();
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                client.send("GET /hello HTTP/1.1\r\nHost: a.test\r\n\r\n");
                assert_eq!(client.response().text(), "hello from a.test");
                count += 1;
            }
            count
        });
        // A changed handler of one host.
        put(
            &site,
            "hosts/b.test/handlers/hello.wat",
            guests::page("new in b.test"),
        );
        eventually("it is reloaded", || {
            get(&server, "b.test", "/hello").text() == "new in b.test"
        });
        server.error_log().expect(&["//b.test/hello: reloaded"]);
        // A broken one: the problem names the host, and the last version is served.
        put(&site, "hosts/b.test/handlers/hello.wat", "(broken");
        server
            .error_log()
            .expect(&["hosts/b.test/handlers/hello.wat", "(host b.test)"]);
        assert_eq!(get(&server, "b.test", "/hello").text(), "new in b.test");

        // A host is added, with another folder; and one is removed.
        add_host(&site, "c.test");
        put(&site, "hosts/c.test/handlers/bad.wat", "(broken");
        configure(
            &site,
            "[hosts.\"a.test\"]\n[hosts.\"c.test\"]\naliases = [\"d.test\"]\n",
        );
        eventually("it is served", || {
            get(&server, "d.test", "/hello").text() == "hello from c.test"
        });
        server
            .error_log()
            .expect(&["applied: hosts.b.test, hosts.c.test"]);
        assert_eq!(
            get(&server, "b.test", "/hello").text(),
            "hello from the site itself"
        );
        // Its folders are followed.
        put(
            &site,
            "hosts/c.test/handlers/late.wat",
            guests::page("late"),
        );
        eventually("it is loaded", || {
            get(&server, "c.test", "/late").text() == "late"
        });
        server
            .error_log()
            .expect(&["//c.test/late: loaded, serves /late"]);
        // What is wrong from its start on is told once.
        let broken = ["ERROR", "hosts/c.test/handlers/bad.wat"];
        let is_it = |line: &&String| broken.iter().all(|part| line.contains(part));
        server.error_log().expect(&broken);
        assert_eq!(server.error_log().lines().iter().filter(is_it).count(), 1);

        // The folder of one changes.
        put(&site, "elsewhere/html/index.html", "elsewhere");
        configure(
            &site,
            "[site]\ndefault-host = false\n[hosts.\"a.test\"]\n[hosts.\"c.test\"]\n\
             folder = \"elsewhere\"\n",
        );
        eventually("it is served", || {
            get(&server, "c.test", "/").text() == "elsewhere"
        });
        assert_eq!(get(&server, "c.test", "/late").status(), 404);
        assert_eq!(get(&server, "d.test", "/").status(), 421);

        // An invalid table changes nothing.
        for (text, said) in [
            (
                "[hosts.\"a.test\"]\n[hosts.\"e.test\"]\n",
                "hosts.e.test: neither ",
            ),
            (
                "[hosts.\"a.test\"]\naliases = [\"A.b\"]\n",
                "wasgi.toml:1: hosts.a.test: A.b: write it in lower case: a.b",
            ),
            (
                "[hosts.\"a.test\".pages]\nclean-url = true\n",
                "hosts.a.test.pages.clean-url: unknown key; did you mean",
            ),
        ] {
            configure(&site, text);
            server
                .error_log()
                .expect(&[said, "(the settings are unchanged)"]);
            assert_eq!(get(&server, "c.test", "/").text(), "elsewhere");
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(load.join().expect("no failed request") > 0);
    });
}

#[test]
fn the_grants_and_the_state_of_a_host_are_its_own() {
    let site = site("");
    for folder in ["handlers", "hosts/a.test/handlers", "hosts/b.test/handlers"] {
        let handler = fs::read(guests::case("grants")).expect("it is built");
        put(&site, &format!("{folder}/grants.wasm"), handler);
    }
    let buckets = "key-value = [\"default\", { name = \"all\", shared = \"x\" }]\n";
    configure(
        &site,
        &format!(
            "[handlers.grants]\nenvironment = {{ A = \"site\" }}\n{buckets}\
             [hosts.\"a.test\".handlers.grants]\nenvironment = {{ A = \"a\" }}\n{buckets}\
             [hosts.\"b.test\".handlers.\"*\"]\n{buckets}"
        ),
    );
    let server = Server::new(&site);
    let ask = |host: &str, query: &str| {
        let response = get(&server, host, &format!("/grants?{query}"));
        assert_eq!(response.status(), 200, "{host} {query}");
        response.text().to_owned()
    };
    assert_eq!(ask("test", "variable=A"), "site");
    assert_eq!(ask("a.test", "variable=A"), "a");
    assert_eq!(ask("b.test", "variable=A"), "not set");
    server.error_log().expect(&[
        "//b.test/grants: asked for environment variables and has none",
        "add to wasgi.toml: [hosts.\"b.test\".handlers.grants] environment = ",
    ]);
    for bucket in ["default", "all"] {
        for host in ["test", "a.test", "b.test"] {
            assert_eq!(
                ask(host, &format!("kv={bucket},exists,k")),
                "false",
                "{host}"
            );
            assert_eq!(ask(host, &format!("kv={bucket},set,k,{host}")), "set");
        }
        for host in ["test", "a.test", "b.test"] {
            assert_eq!(ask(host, &format!("kv={bucket},get,k")), host);
        }
    }
    drop(server);
    let site = site.path().to_str().expect("text");
    for bucket in ["handler://a.test/grants/default", "shared://a.test/x"] {
        let ended = run(["state", "get", bucket, "k", "--site", site]);
        assert_eq!(ended.stdout.join("\n"), "a.test", "{}", ended.everything());
    }
}

#[test]
fn several_processes_serve_all_hosts() {
    let site = site(TWO);
    let server = Server::with(&site, &["--processes", "2"]);
    for _ in 0..8 {
        assert_eq!(get(&server, "a.test", "/hello").text(), "hello from a.test");
        assert_eq!(get(&server, "b.test", "/").text(), "b.test");
        assert_eq!(get(&server, "c.test", "/").text(), "the site itself");
    }
    add_host(&site, "c.test");
    configure(&site, &format!("{TWO}[hosts.\"c.test\"]\n"));
    eventually("both serve the new host", || {
        (0..8).all(|_| get(&server, "c.test", "/").text() == "c.test")
    });
}

#[test]
fn commands_know_the_hosts() {
    let site = site(&format!(
        "{TWO}[hosts.\"a.test\".handlers.hello]\nenvironment = {{ A = \"b\" }}\n"
    ));
    put(&site, "hosts/b.test/handlers/notes.txt", "");
    let path = site.path().to_str().expect("text");
    let ended = run(["routes", path, "--verbose"]);
    let all = ended.everything();
    for part in [
        "//a.test/hello",
        "granted: environment",
        "//b.test/hello",
        "hosts/b.test/handlers/notes.txt: ",
        "(host b.test)",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let all = run(["config", path]).everything();
    assert!(all.contains("[hosts.\"a.test\"] # file, line 1"), "{all}");
    assert!(all.contains("default-host = true # default"), "{all}");
    let output = site.path().join("site.wasgi");
    let output = output.to_str().expect("text");
    let ended = run(["bundle", path, "-o", output]);
    let all = ended.everything();
    assert!(all.contains("hosts.a.test: a bundle is one site"), "{all}");
    assert!(!Path::new(output).exists());
    // A host's folder is a site by itself.
    let folder = site.path().join("hosts/a.test");
    let ended = run(["bundle", folder.to_str().expect("text"), "-o", output]);
    assert!(Path::new(output).exists(), "{}", ended.everything());
    fs::write(site.path().join("operator.toml"), TWO).expect("written");
    let operator = site.path().join("operator.toml");
    let operator = operator.to_str().expect("text");
    let all = run(["serve", output, "--config", operator]).everything();
    assert!(
        all.contains("operator.toml:1: hosts.a.test: a bundle is one site"),
        "{all}"
    );
}
