//! Traces: the spans of a request, as a collector receives them, and collectors that don't.

use std::fs;

use crate::support::command::{code_cache, wasgi};
use crate::support::otlp::{Collector, Forwarder, Manner, Span};
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

// The kinds of spans.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;

/// Starts a server with these variables of the environment, beside those for fast tests.
fn serve(site: &Site, collector: &Collector, variables: &[(&str, &str)]) -> Server {
    serve_with(site, &collector.url(), variables)
}

/// Starts a server with the URL of a collector, and these variables.
fn serve_with(site: &Site, collector: &str, variables: &[(&str, &str)]) -> Server {
    let mut command = wasgi(["serve", "--addr", "127.0.0.1:0", "--threads", "2"]);
    command.arg("--code-cache").arg(code_cache());
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .envs(variables.iter().copied());
    Server::started(Process::start(command.arg(site.path())))
}

/// Sends a GET with the context of a trace.
fn get(server: &Server, target: &str, traceparent: &str) -> (u16, String) {
    let mut client = server.connect();
    client.send(format!(
        "GET {target} HTTP/1.1\r\nHost: shop.example:81\r\nTraceparent: {traceparent}\r\n\
         Tracestate: a=1,b=2\r\nUser-Agent: test\r\n\r\n"
    ));
    let response = client.response();
    (response.status(), response.text().to_owned())
}

#[test]
fn a_request_is_one_trace_from_client_to_handler_to_upstream() {
    let collector = Collector::start(Manner::Accept);
    let upstream = Site::new().with_demos(["echo"]);
    let upstream = serve(&upstream, &collector, &[("OTEL_SERVICE_NAME", "upstream")]);
    let site = Site::new().with_demos(["weather", "guestbook"]);
    let api = format!("http://{}", upstream.addr());
    let settings = format!(
        "[handlers.weather]\nenvironment = {{ WEATHER_API = \"{api}/echo\" }}\n\
         allowed-outbound-hosts = [\"{api}\"]\n[handlers.guestbook]\nkey-value = [\"default\"]\n"
    );
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = serve(&site, &collector, &[("OTEL_SERVICE_NAME", "front")]);

    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let (status, text) = get(&server, "/weather?city=Oslo", &parent);
    assert_eq!(status, 200, "{text}");
    let find = |service: &'static str, name: &'static str| {
        collector.expect(name, move |span: &Span| {
            span.service == service && span.name == name
        })
    };
    let request = find("front", "GET /weather");
    assert_eq!((&*request.trace, request.kind), (TRACE, SERVER));
    assert_eq!(
        (&*request.parent, &*request.state),
        ("b7ad6b7169203331", "a=1,b=2")
    );
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/weather"),
        ("url.path", "/weather"),
        ("url.query", "city=Oslo"),
        ("url.scheme", "http"),
        ("server.address", "shop.example"),
        ("server.port", "81"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "test"),
        ("network.protocol.version", "1.1"),
    ] {
        assert_eq!(request.get(key), value, "{key}: {request:?}");
    }
    let instance = find("front", "instance");
    let guest = find("front", "guest");
    for span in [&instance, &guest] {
        assert_eq!((&span.trace, &span.parent), (&request.trace, &request.id));
        assert_eq!((span.kind, span.has_failed), (INTERNAL, false));
        assert!(span.start >= request.start && span.end <= request.end.max(span.end));
    }
    assert!(instance.end <= guest.start);
    let outbound = find("front", "GET");
    assert_eq!(
        (&outbound.trace, &outbound.parent),
        (&request.trace, &guest.id)
    );
    assert_eq!(outbound.kind, CLIENT);
    assert_eq!(outbound.get("url.full"), format!("{api}/echo"));
    assert_eq!(
        outbound.get("server.port"),
        upstream.addr().port().to_string()
    );
    assert_eq!(outbound.get("http.response.status_code"), "200");
    // The upstream's trace is the same, and its parent is the request to it.
    let far = find("upstream", "GET /echo");
    assert_eq!((&far.trace, &far.parent), (&request.trace, &outbound.id));
    assert_eq!((far.kind, &*far.state), (SERVER, "a=1,b=2"));
    // Its handler sees its own server's span as the parent, and not the client's.
    let context = format!("traceparent: 00-{TRACE}-{}-01", far.id);
    assert!(
        text.contains(&context) && text.contains("tracestate: a=1,b=2"),
        "{text}"
    );
    assert!(!text.contains("b7ad6b7169203331"), "{text}");

    let (status, text) = get(&server, "/guestbook", "");
    assert_eq!(status, 200, "{text}");
    let request = find("front", "GET /guestbook");
    assert_ne!(request.trace, TRACE);
    assert_eq!((&*request.parent, &*request.state), ("", ""));
    let state = collector.expect("an operation", |span: &Span| {
        !span.get("db.system.name").is_empty()
    });
    let of_guest = |span: &Span| span.name == "guest" && span.trace == state.trace;
    let guest = collector.expect("its guest", of_guest);
    assert_eq!((&state.trace, &state.parent), (&request.trace, &guest.id));
    assert_eq!((state.get("db.system.name"), state.kind), ("redb", CLIENT));
    assert_eq!(state.get("db.collection.name"), "handler:guestbook/default");
    let name = format!(
        "{} handler:guestbook/default",
        state.get("db.operation.name")
    );
    assert_eq!(state.name, name);
    server.stop();
    upstream.stop();
}

#[test]
fn failures_are_marked_and_pages_have_a_span() {
    let collector = Collector::start(Manner::Accept);
    let site = Site::new()
        .with_page("index.html", "a page")
        .with_cases(["exception"]);
    let server = serve(
        &site,
        &collector,
        &[
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20secret"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "deployment.environment.name=test",
            ),
        ],
    );
    assert_eq!(server.get("/exception").status(), 500);
    assert_eq!(server.get("/").status(), 200);
    let failed = collector.expect("it", |span| span.name == "GET /exception");
    assert!(
        failed.has_failed && failed.get("error.type") == "500",
        "{failed:?}"
    );
    assert_eq!(failed.service, "wasgi");
    let guest = collector.expect("its guest", |span| span.name == "guest");
    assert!(
        guest.has_failed && guest.get("error.type") == "exception",
        "{guest:?}"
    );
    let page = collector.expect("the page", |span| span.get("url.path") == "/");
    assert_eq!(
        (&*page.name, page.get("http.route"), page.has_failed),
        ("GET", "", false)
    );
    // An unusual method and a long path can't become names.
    let path = "a".repeat(5000);
    let mut client = server.connect();
    client.send(format!("BREW /{path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    let _ = client.response();
    let brew = collector.expect("it", |span| span.name == "HTTP");
    assert_eq!(brew.get("http.request.method"), "_OTHER");
    assert_eq!(brew.get("http.request.method_original"), "BREW");
    assert_eq!(brew.get("url.path").len(), 1024);
    let ended = server.stop();
    let head = collector.heads().concat().to_ascii_lowercase();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/x-protobuf\r\n"),
        "{head}"
    );
    assert!(head.contains("api-key: a secret\r\n"), "{head}");
    assert!(!ended.everything().contains("a secret"));
}

#[test]
fn the_sampler_decides_and_the_context_goes_on_in_any_case() {
    let collector = Collector::start(Manner::Accept);
    let site = Site::new().with_demos(["echo"]);
    let server = serve(&site, &collector, &[]);
    let (_, text) = get(&server, "/echo", &format!("00-{TRACE}-b7ad6b7169203331-00"));
    assert!(
        text.contains(&format!("traceparent: 00-{TRACE}-")),
        "{text}"
    );
    assert!(
        !text.contains("b7ad6b7169203331") && text.contains("-00\n"),
        "{text}"
    );
    // An invalid context is ignored, and so is its state.
    let (_, text) = get(&server, "/echo", &format!("00-{TRACE}-b7ad6b7169203331"));
    assert!(
        text.contains("traceparent: 00-") && !text.contains(TRACE),
        "{text}"
    );
    assert!(!text.contains("tracestate"), "{text}");
    server.stop();
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace != TRACE), "{spans:?}");
    assert_eq!(spans.iter().filter(|span| span.kind == SERVER).count(), 1);
}

#[test]
fn without_a_collector_a_context_is_an_ordinary_field() {
    let site = Site::new().with_demos(["echo"]);
    let server = Server::new(&site);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let (_, text) = get(&server, "/echo", &parent);
    assert!(text.contains(&format!("traceparent: {parent}")), "{text}");
    assert!(text.contains("tracestate: a=1,b=2"), "{text}");
    assert!(!server.has_thread("wasgi-traces"));
    server.stop();
}

#[test]
fn a_collector_that_accepts_nothing_is_one_line_and_fails_no_request() {
    let site = Site::new().with_page("index.html", "a page");
    for (manner, why) in [
        (
            Manner::Say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
            "status 400",
        ),
        (
            Manner::Say(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n\
                         Content-Length: 0\r\n\r\n",
            ),
            "status 307: redirects are not followed",
        ),
        (
            Manner::Say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"),
            "is this a collector?",
        ),
        (Manner::Say("no HTTP at all\r\n\r\n"), "invalid HTTP"),
        (Manner::Say(""), "before message completed"),
        (Manner::Hang, "no response in time"),
    ] {
        let collector = Collector::start(manner);
        let variables = [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "500"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ];
        let server = serve(&site, &collector, &variables);
        let mut client = server.connect();
        let mut sent = 0;
        let until_told = |line: &str| line.contains("does not accept spans");
        while !server
            .error_log()
            .lines()
            .iter()
            .any(|line| until_told(line))
        {
            assert_eq!(client.get("/").status(), 200);
            sent += 1;
        }
        for _ in 0..50 {
            assert_eq!(client.get("/").status(), 200);
        }
        sent += 50;
        let line = server
            .error_log()
            .expect(&["WARN traces: ", "does not accept spans"]);
        assert!(line.contains(why), "{manner:?}: {line}");
        collector.set(Manner::Accept);
        let told = loop {
            // A collector that hangs keeps its old connections.
            assert_eq!(client.get("/").status(), 200);
            sent += 1;
            let lines = server.error_log().lines();
            if let Some(line) = lines
                .iter()
                .find(|line| line.contains("accepts spans again"))
            {
                break line.clone();
            }
        };
        drop(client);
        let ended = server.stop();
        assert_eq!(
            ended.stderr_with(&["does not accept spans"]),
            1,
            "{}",
            ended.everything()
        );
        // Each span has arrived or is counted.
        let number = |line: &String| -> usize {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at = words
                .iter()
                .position(|word| *word == "dropped" || *word == "were");
            let before = words[..at.expect("a word")].iter().rev();
            before
                .clone()
                .find_map(|word| word.parse().ok())
                .expect("a number")
        };
        let dropped: usize = ended
            .stderr
            .iter()
            .filter(|line| line.contains("were dropped"))
            .map(number)
            .sum();
        assert!(told.contains("were dropped"), "{told}");
        let arrived = collector.spans().len();
        assert_eq!(
            arrived + dropped,
            sent,
            "{manner:?}: {}",
            ended.everything()
        );
    }
}

#[test]
fn a_collector_that_is_away_is_waited_for() {
    let collector = Collector::start(Manner::Say(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
    ));
    let site = Site::new().with_page("index.html", "a page");
    let server = serve(&site, &collector, &[]);
    assert_eq!(server.get("/").status(), 200);
    server.error_log().expect(&["WARN traces: ", "status 503"]);
    collector.set(Manner::Accept);
    collector.expect("the span", |span| span.name == "GET");
    server
        .error_log()
        .expect(&["INFO traces: ", "accepts spans again; 0 were dropped"]);
    assert!(collector.requests() >= 2);
    server.stop();
}

/// Its decoder is generated from the specification's files. What it doesn't know, or has decoded as
/// something else, the second collector doesn't get.
#[test]
fn another_projects_collector_decodes_spans_and_passes_them_on() {
    let collector = Collector::start(Manner::Accept);
    let Some(forwarder) = Forwarder::start(&collector) else {
        return;
    };
    let site = Site::new().with_demos(["hello"]).with_cases(["exception"]);
    let server = serve_with(&site, &forwarder.url(), &[("OTEL_SERVICE_NAME", "front")]);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    assert_eq!(get(&server, "/hello", &parent).0, 200);
    let request = collector.expect("the request", |span| span.name == "GET /hello");
    assert_eq!((&*request.service, &*request.trace), ("front", TRACE));
    assert_eq!(
        (&*request.parent, &*request.state, request.kind),
        ("b7ad6b7169203331", "a=1,b=2", SERVER)
    );
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/hello"),
        ("server.address", "shop.example"),
        ("server.port", "81"),
    ] {
        assert_eq!(request.get(key), value, "{key}: {request:?}");
    }
    let guest = collector.expect("its guest", |span| {
        span.name == "guest" && span.trace == TRACE
    });
    assert_eq!((&guest.parent, guest.kind), (&request.id, INTERNAL));
    assert!(!guest.has_failed && guest.start <= guest.end, "{guest:?}");
    assert_eq!(get(&server, "/exception", "").0, 500);
    let failed = collector.expect("the failure", |span| span.name == "GET /exception");
    assert!(
        failed.has_failed && failed.get("error.type") == "500",
        "{failed:?}"
    );
    server.stop();
}
