//! Connections of handlers to other hosts: what is granted, and what hostile hosts can do.

mod hostile;
mod https;
mod load;
pub(crate) mod postgres;
mod scripts;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::support::attempts::{ask, configure};
use crate::support::command::{code_cache, run, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::Certificate;
use crate::support::upstream::Upstream;

/// The handlers that attempt what their query asks for, one of each kind.
const KINDS: [&str; 3] = ["outbound", "outbound-cgi", "wasi-http-outbound"];

/// Returns a configuration that grants hosts to all handlers.
fn granting(hosts: &[String]) -> String {
    format!("[handlers.\"*\"]\nallowed-outbound-hosts = {hosts:?}\n")
}

/// Creates a site whose handlers are granted an upstream, for HTTP and for sockets.
fn site_with(upstream: &Upstream) -> Site {
    let site = Site::new().with_cases(KINDS);
    let hosts = ["http", "tcp"].map(|scheme| format!("{scheme}://{}", upstream.addr()));
    configure(&site, &granting(&hosts));
    site
}

#[test]
fn hosts_are_reachable_only_by_grant() {
    let upstream = Upstream::start();
    let (addr, port) = (upstream.addr(), upstream.port());
    let site = Site::new().with_cases(KINDS);
    let server = Server::new(&site);
    for kind in KINDS {
        for (query, error) in [
            (
                format!("fetch={}", upstream.url("/hello")),
                "HttpRequestDenied",
            ),
            (
                format!("post={},text", upstream.url("/echo")),
                "HttpRequestDenied",
            ),
            (format!("connect={addr},hi"), "PermissionDenied"),
            (format!("connect=localhost:{port},hi"), "PermissionDenied"),
            ("resolve=localhost".to_owned(), "PermissionDenied"),
            ("listen".to_owned(), "PermissionDenied"),
            ("datagram".to_owned(), "PermissionDenied"),
        ] {
            let told = ask(&server, kind, &query);
            assert!(told.starts_with("error: "), "{kind}: {query}: {told}");
            // The C library translates some errors of look-ups.
            if !query.contains("localhost") {
                assert!(told.contains(error), "{kind}: {query}: {told}");
            }
        }
        server.error_log().expect(&[&format!(
            "WARN {kind}: asked for http://{addr}, which is not granted; to grant it, add to \
             wasgi.toml: [handlers.{kind}] allowed-outbound-hosts = [\"http://{addr}\"]"
        )]);
        server.error_log().expect(&[&format!(
            "WARN {kind}: asked for tcp://localhost:PORT, which is not granted"
        )]);
    }
    let ended = server.stop();
    let news = ended.stderr_with(&[&format!("WARN outbound: asked for http://{addr},")]);
    assert_eq!(news, 1, "{}", ended.everything());
    assert_eq!(upstream.connections(), 0);

    let hosts = ["http", "tcp"].map(|scheme| format!("{scheme}://{addr}"));
    let names = [
        format!("tcp://localhost:{port}"),
        format!("http://localhost:{port}"),
    ];
    let hosts: Vec<String> = hosts.into_iter().chain(names).collect();
    configure(&site, &granting(&hosts));
    let server = Server::new(&site);
    for kind in KINDS {
        for (query, result) in [
            (
                format!("fetch={}", upstream.url("/hello")),
                "200 hello".to_owned(),
            ),
            (
                format!("head={}", upstream.url("/hello")),
                "200 ".to_owned(),
            ),
            (
                format!("post={},text", upstream.url("/echo")),
                "200 text".to_owned(),
            ),
            (
                format!("fetch={}", upstream.url("/host")),
                format!("200 {addr}"),
            ),
            (
                format!("fetch={}", upstream.url("/none")),
                "404 ".to_owned(),
            ),
            (
                format!("fetch=http://localhost:{port}/hello"),
                "200 hello".to_owned(),
            ),
            (
                format!("fetch=http://LOCALHOST:{port}/hello"),
                "200 hello".to_owned(),
            ),
            (format!("connect={addr},hi"), "echo hi\n".to_owned()),
            (
                format!("connect=localhost:{port},hi"),
                "echo hi\n".to_owned(),
            ),
        ] {
            assert_eq!(ask(&server, kind, &query), result, "{kind}: {query}");
        }
        let found = ask(&server, kind, "resolve=localhost");
        assert!(found.contains("127.0.0.1"), "{kind}: {found}");
        for query in ["listen", "datagram", "resolve=example.com"] {
            let told = ask(&server, kind, query);
            assert!(told.starts_with("error: "), "{kind}: {query}: {told}");
        }
    }
}

#[test]
fn no_form_of_an_address_leads_to_a_host_that_is_not_granted() {
    let upstream = Upstream::start();
    let port = upstream.port();
    let site = Site::new().with_cases(KINDS);
    configure(
        &site,
        &granting(&[
            format!("http://*:{port}"),
            format!("tcp://*:{port}"),
            format!("https://*:{port}"),
        ]),
    );
    let server = Server::new(&site);
    for kind in KINDS {
        for host in [
            "127.0.0.1",
            "localhost",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "127.0.0.1.",
            "0.0.0.0",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::]",
            "user@127.0.0.1",
            "169.254.169.254",
            "[fe80::1]",
        ] {
            for scheme in ["http", "https"] {
                let query = format!("fetch={scheme}://{host}:{port}/hello");
                let told = ask(&server, kind, &query);
                assert!(told.starts_with("error: "), "{kind}: {query}: {told}");
            }
            let told = ask(&server, kind, &format!("connect={host}:{port},hi"));
            assert!(
                told.starts_with("error: "),
                "{kind}: connect {host}: {told}"
            );
            // A literal address is its own, and no other form is one.
            let bare = host.trim_matches(['[', ']']);
            let told = ask(&server, kind, &format!("resolve={bare}"));
            let is_literal = bare.parse() == told.parse::<IpAddr>();
            assert!(
                is_literal || told.starts_with("error: "),
                "{kind}: resolve {host}: {told}"
            );
        }
        let to = upstream.url("/hello");
        let told = ask(&server, kind, &format!("tunnel={to}"));
        assert!(told.contains("HttpRequestMethodInvalid"), "{told}");
        for field in ["host", "connection", "transfer-encoding", "upgrade"] {
            let told = ask(&server, kind, &format!("field={field}"));
            assert!(told.contains("Forbidden"), "{told}");
        }
    }
    assert_eq!(upstream.connections(), 0);
    server.error_log().expect(&[&format!(
        "WARN outbound: was denied a connection to http://localhost:{port}, which stands for the \
         loopback address "
    )]);
}

#[test]
fn each_redirect_needs_a_grant() {
    let (granted, other) = (Upstream::start(), Upstream::start());
    let site = site_with(&granted);
    let server = Server::new(&site);
    for kind in KINDS {
        let to = |upstream: &Upstream, path: &str| {
            format!(
                "follow={}",
                granted.url(&format!("/redirect?{}", upstream.url(path)))
            )
        };
        assert_eq!(ask(&server, kind, &to(&granted, "/hello")), "200 hello");
        let told = ask(&server, kind, &to(&other, "/hello"));
        assert_eq!(told, "error: ErrorCode::HttpRequestDenied", "{kind}");
    }
    assert_eq!(other.connections(), 0);
}

#[test]
fn a_connection_is_used_again_by_its_handler() {
    let upstream = Upstream::start();
    let site = site_with(&upstream);
    let server = Server::new(&site);
    let query = format!("fetch={}", upstream.url("/hello"));
    for _ in 0..5 {
        assert_eq!(ask(&server, "outbound", &query), "200 hello");
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(ask(&server, "outbound-cgi", &query), "200 hello");
    assert_eq!(upstream.connections(), 2);
    // The peer closes the connection after its response: the next request has a new one.
    let once = format!("fetch={}", upstream.url("/once"));
    for _ in 0..5 {
        assert_eq!(ask(&server, "outbound", &once), "200 once");
    }
    assert_eq!(upstream.requests(), 11);
}

#[test]
fn a_request_on_a_connection_that_the_peer_closes_is_sent_again_only_if_that_is_harmless() {
    let upstream = Upstream::start();
    let site = site_with(&upstream);
    let server = Server::new(&site);
    for kind in KINDS {
        let before = (upstream.connections(), upstream.requests());
        let ask = |how: &str, body: &str| {
            let first = upstream.url("/first");
            ask(&server, kind, &format!("{how}={first}{body}"))
        };
        for _ in 0..4 {
            assert_eq!(ask("fetch", ""), "200 hello", "{kind}");
        }
        // The first needs no second try.
        let after = (upstream.connections(), upstream.requests());
        assert_eq!((after.0 - before.0, after.1 - before.1), (4, 7), "{kind}");
        let told = ask("post", ",text");
        assert!(told.contains("HttpResponseIncomplete"), "{kind}: {told}");
        assert_eq!(upstream.requests(), after.1 + 1, "{kind}: not sent again");
    }
}

#[test]
fn a_certificate_must_be_trusted_and_be_that_of_the_host() {
    let site = Site::new().with_cases(KINDS);
    let certificate = Certificate::make(site.path());
    let upstream = Upstream::with_tls(&certificate);
    let port = upstream.port();
    let hosts = ["localhost", "127.0.0.1"].map(|host| format!("https://{host}:{port}"));
    configure(&site, &granting(&hosts));
    let start = |trusted: Option<&str>| {
        let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--code-cache"]);
        command.arg(code_cache()).arg(site.path());
        if let Some(trusted) = trusted {
            command.env("SSL_CERT_FILE", trusted);
        }
        Server::started(Process::start(&mut command))
    };
    let untrusting = start(None);
    let trusting = start(certificate.cert.to_str());
    for kind in KINDS {
        let (name, address) = (
            format!("fetch=https://localhost:{port}/hello"),
            format!("fetch=https://127.0.0.1:{port}/hello"),
        );
        assert_eq!(ask(&trusting, kind, &name), "200 hello");
        for (server, query) in [(&trusting, &address), (&untrusting, &name)] {
            let told = ask(server, kind, query);
            assert!(told.contains("TlsCertificateError"), "{kind}: {told}");
        }
    }
}

#[test]
fn a_changed_grant_applies_to_the_next_request_and_fails_none() {
    for flags in [&[][..], &["--processes", "2"]] {
        let (upstream, other) = (Upstream::start(), Upstream::start());
        let site = Site::new().with_cases(KINDS);
        let one = format!("http://{}", upstream.addr());
        let two = format!("http://{}", other.addr());
        configure(&site, &granting(std::slice::from_ref(&one)));
        let server = Server::with(&site, flags);
        let (done, asked) = (AtomicBool::new(false), AtomicU64::new(0));
        let fetch = |upstream: &Upstream| format!("fetch={}", upstream.url("/hello"));
        thread::scope(|scope| {
            let load = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let told = ask(&server, "outbound", &fetch(&upstream));
                    assert_eq!(told, "200 hello");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            });
            let until = |told: &str| {
                eventually(told, || {
                    (0..8).all(|_| {
                        load.is_finished() || ask(&server, "outbound", &fetch(&other)) == told
                    })
                });
            };
            until("error: ErrorCode::HttpRequestDenied");
            for _ in 0..3 {
                configure(&site, &granting(&[one.clone(), two.clone()]));
                until("200 hello");
                // The idle connection to it is not used any more either.
                configure(&site, &granting(std::slice::from_ref(&one)));
                until("error: ErrorCode::HttpRequestDenied");
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(asked.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn a_host_that_is_not_one_prevents_the_start_in_one_line() {
    let site = Site::new().with_cases(["outbound"]);
    let path = site.path().to_str().expect("text");
    for (hosts, line) in [
        (
            "[\"api.example.com\"]",
            "\"api.example.com\": must begin with a scheme",
        ),
        ("[\"https://a.test/v1\"]", "must not have a path"),
        ("[\"https://a.*.test\"]", "a wildcard must be"),
        ("[\"tcp://a.test\"]", "needs a port"),
        ("[{ host = \"https://a.test\", privat = true }]", "privat"),
        ("[5]", "a host, such as"),
    ] {
        configure(
            &site,
            &format!("[handlers.outbound]\nallowed-outbound-hosts = {hosts}\n"),
        );
        let ended = run(["serve", "--addr", "127.0.0.1:0", path]);
        ended.expect_stderr(&["handlers.outbound", line]);
    }
}

#[test]
fn check_and_run_say_what_is_not_granted() {
    let upstream = Upstream::start();
    let site = Site::new().with_cases(["outbound"]);
    let path = site.path().to_str().expect("text");
    let target = format!("/outbound?fetch={}", upstream.url("/hello"));
    let cache = code_cache().to_str().expect("text").to_owned();
    let flags = ["--site", path, "--code-cache", &cache];
    let try_out = |command: &[&str]| run(command.iter().copied().chain(flags));
    let how = format!(
        "add to wasgi.toml: [handlers.outbound] allowed-outbound-hosts = [\"http://{}\"]",
        upstream.addr()
    );
    let ran = ["run", "outbound", "GET", &target];
    let file = site.handlers().join("outbound.wasm");
    let file = file.to_str().expect("text");
    let checked = ["check", file, "--path", &target];
    for command in [&ran[..], &checked] {
        let ended = try_out(command);
        assert!(ended.everything().contains(&how), "{}", ended.everything());
    }
    configure(&site, &granting(&[format!("http://{}", upstream.addr())]));
    let ended = try_out(&ran);
    assert!(
        ended.everything().contains("200 hello"),
        "{}",
        ended.everything()
    );
}

#[test]
fn the_weather_comes_from_a_granted_api() {
    let upstream = Upstream::start();
    let site = Site::new().with_demos(["weather"]);
    let server = Server::new(&site);
    assert_eq!(server.get("/weather").status(), 503);
    let api = format!("http://{}", upstream.addr());
    let environment = format!("environment = {{ WEATHER_API = \"{api}/target\" }}\n");
    configure(&site, &format!("[handlers.weather]\n{environment}"));
    eventually("the host is asked for", || {
        let asked = server.get("/weather").status() == 503;
        asked
            && server
                .error_log()
                .lines()
                .iter()
                .any(|line| line.contains(&api))
    });
    assert_eq!(upstream.connections(), 0);
    let hosts = format!("allowed-outbound-hosts = [\"{api}\"]\n");
    configure(&site, &format!("[handlers.weather]\n{environment}{hosts}"));
    eventually("the API answers", || server.get("/weather").status() == 200);
    let page = server
        .get("/weather?city=S%C3%A3o%20Paulo")
        .text()
        .to_owned();
    assert!(page.contains("/target?city=S%C3%A3o%20Paulo"), "{page}");
}
