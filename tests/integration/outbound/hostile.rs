//! Upstreams that stall, end early, or send without end.

use std::net::TcpListener;

use super::{KINDS, ask, configure, granting, site_with};
use crate::support::attempts::serve_with_descriptors;
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::upstream::Upstream;

#[test]
fn a_hostile_response_is_an_error_of_its_request() {
    let upstream = Upstream::start();
    let site = site_with(&upstream);
    let server = Server::new(&site);
    for kind in KINDS {
        for (path, error) in [
            ("/long-head", "HttpResponseHeaderSectionSize"),
            ("/many-fields", "HttpResponseHeaderSectionSize"),
            ("/endless-head", "HttpResponseHeaderSectionSize"),
            ("/early", "HttpResponseIncomplete"),
            ("/nothing", "HttpResponseIncomplete"),
            ("/garbage", "HttpProtocolError"),
        ] {
            let told = ask(&server, kind, &format!("fetch={}", upstream.url(path)));
            assert!(told.contains(error), "{kind}: {path}: {told}");
        }
        for path in ["/stall", "/endless-continue"] {
            let query = format!("impatient={},200", upstream.url(path));
            let told = ask(&server, kind, &query);
            assert!(
                told.contains("HttpResponseTimeout"),
                "{kind}: {path}: {told}"
            );
        }
        let refused = "fetch=http://127.0.0.1:1/";
        assert!(ask(&server, kind, refused).contains("HttpRequestDenied"));
    }
    upstream.wait_for_open(0);
}

#[test]
fn a_response_has_a_size_limit_and_a_time_limit() {
    let upstream = Upstream::start();
    let site = Site::new().with_cases(KINDS);
    let settings = granting(&[format!("http://{}", upstream.addr())]);
    configure(
        &site,
        &format!("[budget]\noutbound-response = \"1MiB\"\n{settings}"),
    );
    let server = Server::new(&site);
    for kind in KINDS {
        let told = ask(
            &server,
            kind,
            &format!("fetch={}", upstream.url("/endless")),
        );
        assert!(told.contains("HttpResponseBodySize"), "{kind}: {told}");
    }
    upstream.wait_for_open(0);
    server.stop();
    configure(&site, &format!("[budget]\nwall-time = \"1s\"\n{settings}"));
    let server = Server::new(&site);
    for kind in KINDS {
        let drip = server.get(&format!("/{kind}?fetch={}", upstream.url("/drip")));
        let is_own = drip.status() == 200 && drip.text().contains("ReadTimeout");
        assert!(is_own || drip.status() == 504, "{kind}: {}", drip.status());
    }
    // None of them left a connection.
    upstream.wait_for_open(0);
}

#[test]
fn a_connection_that_is_not_made_in_time_is_an_error_of_its_request() {
    // The system accepts connections, but no process answers the TLS handshake.
    let silent = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let host = format!("https://{}", silent.local_addr().expect("an address"));
    let site = Site::new().with_cases(KINDS);
    configure(&site, &granting(std::slice::from_ref(&host)));
    let server = Server::new(&site);
    for kind in KINDS {
        let told = ask(&server, kind, &format!("unconnected={host}/,200"));
        assert!(told.contains("ConnectionTimeout"), "{kind}: {told}");
    }
    server.stop();
}

#[test]
fn a_handler_that_is_cut_off_leaves_no_connection() {
    let upstream = Upstream::start();
    let site = Site::new().with_cases(KINDS);
    let settings = granting(&[format!("http://{}", upstream.addr())]);
    configure(&site, &format!("[budget]\nwall-time = \"2s\"\n{settings}"));
    let server = Server::new(&site);
    for kind in KINDS {
        // The wall time is over while it waits for the head, for the body, or sleeps in between.
        let queries = [
            format!("fetch={}", upstream.url("/stall")),
            format!("length={}", upstream.url("/drip")),
            format!("hold={}", upstream.url("/drip")),
            format!("hold={}", upstream.url("/endless")),
        ];
        let clients = queries.each_ref().map(|query| {
            let mut client = server.connect();
            client.request("GET", &format!("/{kind}?{query}"));
            client
        });
        for (query, mut client) in queries.iter().zip(clients) {
            let response = client.response();
            let told = response.text();
            let is_over = response.status() == 504 || told.contains("Timeout");
            assert!(is_over, "{kind}: {query}: {told}");
        }
        upstream.wait_for_open(0);
        // The client goes away. Its handler isn't waited for any longer than the wall time.
        let ask = || {
            let mut client = server.connect();
            let stall = upstream.url("/stall");
            client.send(format!(
                "GET /{kind}?fetch={stall} HTTP/1.1\r\nHost: test\r\n\r\n"
            ));
            client
        };
        let mut client = ask();
        eventually("the upstream has the request", || {
            // On a busy machine, the wall time may be over before that.
            if !client.is_quiet() {
                client = ask();
            }
            upstream.waiting() == 1
        });
        drop(client);
        upstream.wait_for_open(0);
    }
}

#[test]
fn connections_of_a_handler_are_limited() {
    let upstream = Upstream::start();
    let site = Site::new().with_cases(KINDS);
    let hosts = ["http", "tcp"].map(|scheme| format!("{scheme}://{}", upstream.addr()));
    configure(
        &site,
        &format!("[budget]\noutbound-connections = 3\n{}", granting(&hosts)),
    );
    let server = Server::new(&site);
    for kind in KINDS {
        let query = format!("connections={},10", upstream.addr());
        assert_eq!(ask(&server, kind, &query), "3", "{kind}");
        upstream.wait_for_open(0);
        // Requests beyond the limit wait for a connection.
        std::thread::scope(|scope| {
            for _ in 0..9 {
                let (server, upstream) = (&server, &upstream);
                scope.spawn(move || {
                    let query = format!("fetch={}", upstream.url("/hello"));
                    assert_eq!(ask(server, kind, &query), "200 hello", "{kind}");
                    assert!(upstream.open() <= 3);
                });
            }
        });
        eventually("idle connections are closed for others", || {
            let query = format!("connections={},10", upstream.addr());
            ask(&server, kind, &query) == "3"
        });
    }
}

#[test]
fn connections_are_limited_with_the_descriptors_of_the_process() {
    // An eighth of the limit, and one that waits.
    const HANDLER_COUNT: usize = 50;
    let upstream = Upstream::start();
    let site = Site::new().with_cases(KINDS);
    let hosts = ["http", "tcp"].map(|scheme| format!("{scheme}://{}", upstream.addr()));
    let settings = granting(&hosts);
    configure(
        &site,
        &format!("[budget]\nwall-time = \"100s\"\n{settings}"),
    );
    let server = serve_with_descriptors(&site, 8 * HANDLER_COUNT);
    for kind in KINDS {
        let sockets = format!("connections={},{}", upstream.addr(), HANDLER_COUNT + 10);
        assert_eq!(ask(&server, kind, &sockets), HANDLER_COUNT.to_string());
        upstream.wait_for_open(0);
        let stall = upstream.url("/stall");
        let holding: Vec<_> = (0..HANDLER_COUNT)
            .map(|_| {
                let mut client = server.connect();
                client.send(format!(
                    "GET /{kind}?fetch={stall} HTTP/1.1\r\nHost: test\r\n\r\n"
                ));
                // Its handler would otherwise be waited for until the wall time.
                client.reset_when_dropped();
                client
            })
            .collect();
        eventually("all have a connection", || {
            upstream.waiting() == HANDLER_COUNT
        });
        let one_more = format!("unconnected={},200", upstream.url("/hello"));
        let told = ask(&server, kind, &one_more);
        assert!(told.contains("ConnectionLimitReached"), "{kind}: {told}");
        assert_eq!(ask(&server, kind, &sockets), "0", "{kind}");
        server.error_log().expect(&[&format!(
            "WARN {kind}: can't open a connection: a handler may have {HANDLER_COUNT} files, \
             folders and connections open"
        )]);
        // Another handler has its own.
        let other = KINDS[usize::from(kind == KINDS[0])];
        let hello = format!("fetch={}", upstream.url("/hello"));
        assert_eq!(ask(&server, other, &hello), "200 hello");
        drop(holding);
        eventually("its connections are closed", || {
            ask(&server, kind, &sockets) == HANDLER_COUNT.to_string()
        });
    }
}
