//! `/metrics` of the admin listener: what is counted, and what Prometheus makes of it.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::admin::{ANY_PORT, address, configure, get, kill_one_of, status};
use crate::support::attempts::ask;
use crate::support::client::request;
use crate::support::command::wasgi;
use crate::support::process::Process;
use crate::support::prometheus::{
    Prometheus, alert_queries, dashboard_queries, is_there, query_path,
};
use crate::support::scripts::Language::JavaScript;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};
use crate::support::upstream::Upstream;
use crate::support::{eventually, guests};

fn site() -> Site {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "the handler")
        .with_page_handler("other", "another");
    configure(&site, ANY_PORT);
    site
}

/// The shortest interval of Prometheus with whole seconds.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// Exceeds the maximum size of a handler, in bytes. No byte of the file is written.
const LARGE_FILE_BYTES: u64 = 1 << 40;

/// Returns the value of a series, as it is written: `name{label="value"}`.
fn value(text: &str, series: &str) -> Option<f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut lines = lines.filter_map(|line| line.rsplit_once(' '));
    let (_, value) = lines.find(|(name, _)| *name == series)?;
    value.parse().ok()
}

fn metrics(server: &Server) -> String {
    get(address(server), "/metrics").text().to_owned()
}

const HELLO: &str = r#"wasgi_http_requests_total{handler="hello",code="2xx"}"#;

#[test]
fn requests_are_counted_by_handler_and_class_and_no_label_is_a_clients() {
    let site = site();
    let server = Server::with(&site, &[]);
    for _ in 0..5 {
        assert_eq!(server.get("/hello").status(), 200);
    }
    assert_eq!(server.get("/").status(), 200);
    assert_eq!(server.get("/a-path-that-a-client-chose").status(), 404);
    assert_eq!(server.ask("INVENTED", "/hello").status(), 200);
    eventually("all requests are over", || {
        value(&metrics(&server), HELLO) == Some(6.0)
    });
    let text = metrics(&server);
    for (series, expected) in [
        (r#"wasgi_http_requests_total{handler="",code="2xx"}"#, 1.0),
        (r#"wasgi_http_requests_total{handler="",code="4xx"}"#, 1.0),
        (
            r#"wasgi_http_request_duration_seconds_count{handler="hello",code="2xx"}"#,
            6.0,
        ),
        (r#"wasgi_http_requests_in_flight{handler="hello"}"#, 0.0),
        ("wasgi_ready", 1.0),
        ("wasgi_processes", 1.0),
        ("wasgi_connections", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    for chosen in ["a-path-that", "INVENTED"] {
        assert!(!text.contains(chosen), "{text}");
    }
}

#[test]
fn a_version_that_is_replaced_has_no_series() {
    let site = site();
    let server = Server::with(&site, &[]);
    let versions = || {
        let text = metrics(&server);
        let lines = text.lines();
        let infos = lines.filter(|line| line.starts_with("wasgi_handler_info{handler=\"hello\""));
        infos.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = versions();
    for page in ["second", "third"] {
        site.replace_handler("hello.wat", guests::page(page));
        eventually("it is replaced", || server.get("/hello").text() == page);
    }
    eventually("only the last version is there", || {
        let now = versions();
        now.len() == 1 && now != first
    });
    assert!(value(&metrics(&server), HELLO) >= Some(2.0), "counts stay");
}

#[test]
fn a_handler_that_is_removed_has_no_series() {
    let site = site();
    let server = Server::with(&site, &[]);
    assert_eq!(server.get("/other").status(), 200);
    eventually("it is counted", || {
        metrics(&server).contains("handler=\"other\"")
    });
    std::fs::remove_file(site.handlers().join("other.wat")).expect("removed");
    eventually("its series are gone", || {
        !metrics(&server).contains("handler=\"other\"")
    });
    assert!(metrics(&server).contains("handler=\"hello\""));
}

#[test]
fn one_scrape_adds_all_processes_and_loses_no_count_of_one_that_dies() {
    const MANY: usize = 64;
    let site = site();
    let server = Server::with(&site, &["--processes", "2", "--threads", "1"]);
    for _ in 0..MANY {
        assert_eq!(server.get("/hello").status(), 200);
    }
    let all = Some(MANY as f64);
    eventually("all requests are counted", || {
        value(&metrics(&server), HELLO) == all
    });
    assert_eq!(value(&metrics(&server), "wasgi_processes"), Some(2.0));
    let killed = kill_one_of(&status(address(&server)), Signal::KILL);
    eventually("another process serves", || {
        let now = status(address(&server));
        let processes = now["processes"].as_array().expect("a list");
        processes.len() == 2 && processes.iter().all(|one| one["pid"] != killed)
    });
    assert_eq!(value(&metrics(&server), HELLO), all);
}

#[test]
fn bytes_are_counted_in_both_directions_and_connections_once() {
    let site = site();
    let server = Server::with(&site, &[]);
    let before = metrics(&server);
    let received = |text: &str| value(text, "wasgi_received_bytes_total").expect("a count");
    let accepted = |text: &str| value(text, "wasgi_connections_accepted_total").expect("a count");
    let mut client = server.connect();
    let head = request("GET", "/");
    for _ in 0..3 {
        client.send(&head);
        assert_eq!(client.response().text(), "the page");
    }
    let after = metrics(&server);
    assert_eq!(
        received(&after) - received(&before),
        3.0 * head.len() as f64
    );
    assert_eq!(accepted(&after) - accepted(&before), 1.0);
    let sent = value(&after, r#"wasgi_http_response_bytes_total{handler=""}"#);
    assert!(
        sent.is_some_and(|sent| sent > 3.0 * "the page".len() as f64),
        "{after}"
    );
}

#[test]
fn bodies_are_counted_for_the_handler_that_was_given_them() {
    const BODY_BYTES: usize = 100_000;
    let site = site().with_cases(["read-all", "read-none"]);
    let server = Server::with(&site, &[]);
    let body = "a".repeat(BODY_BYTES);
    let post = |handler: &str, framed: &str| {
        let mut client = server.connect();
        client.send(format!(
            "POST /{handler} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{framed}"
        ));
        assert_eq!(client.response().status(), 200);
    };
    post(
        "read-all",
        &format!("Content-Length: {BODY_BYTES}\r\n\r\n{body}"),
    );
    post(
        "read-all",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    let given = |handler: &str| {
        let series = format!("wasgi_http_request_body_bytes_total{{handler=\"{handler}\"}}");
        value(&metrics(&server), &series)
    };
    eventually("both bodies are counted, without framing", || {
        given("read-all") == Some(BODY_BYTES as f64 + 3.0)
    });
    assert_eq!(server.get("/hello").status(), 200);
    eventually("a request without a body has none", || {
        given("hello") == Some(0.0)
    });
}

#[test]
fn a_short_request_has_computing_time() {
    let site = site();
    let server = Server::with(&site, &[]);
    assert_eq!(server.get("/hello").status(), 200);
    eventually("its time is counted", || {
        let text = metrics(&server);
        value(&text, r#"wasgi_handler_cpu_seconds_total{handler="hello"}"#) > Some(0.0)
    });
}

#[test]
fn requests_that_wait_for_another_to_compute_are_queued() {
    // Each computes alone for 20 ms before the next one starts.
    const MANY: usize = 40;
    let site = site().with_cases(["counter"]);
    let server = Server::with(&site, &["--threads", "1"]);
    let queued = |text: &str| value(text, r#"wasgi_http_requests_queued{handler="counter"}"#);
    let in_flight = |text: &str| value(text, r#"wasgi_http_requests_in_flight{handler="counter"}"#);
    let clients: Vec<_> = (0..MANY)
        .map(|_| {
            let mut client = server.connect();
            client.send(request("GET", "/counter?forever"));
            // Its handler would otherwise compute until its limit.
            client.reset_when_dropped();
            client
        })
        .collect();
    eventually("all have arrived, and some are queued", || {
        let text = metrics(&server);
        let others = value(&text, r#"wasgi_http_requests_queued{handler="hello"}"#);
        assert_eq!(others, Some(0.0), "{text}");
        let all_are_there = in_flight(&text) == Some(MANY as f64);
        // The first does not wait.
        all_are_there && queued(&text) > Some(0.0) && queued(&text) < in_flight(&text)
    });
    drop(clients);
    eventually("all have left", || {
        let text = metrics(&server);
        queued(&text) == Some(0.0) && in_flight(&text) == Some(0.0)
    });
}

#[test]
fn failures_are_counted_by_cause_and_computing_time_by_handler() {
    let site = site().with_cases(["trap", "loop"]);
    // On a busy machine, the processor time takes many times as long.
    let limits = ["--max-cpu-time", "100ms", "--max-wall-time", "100s"];
    let server = Server::with(&site, &limits);
    for _ in 0..2 {
        assert_eq!(server.get("/trap").status(), 500);
    }
    assert_eq!(server.get("/loop").status(), 504);
    eventually("they are counted", || {
        let text = metrics(&server);
        let failures =
            |labels: &str| value(&text, &format!("wasgi_handler_failures_total{labels}"));
        failures(r#"{handler="trap",cause="trap"}"#) == Some(2.0)
            && failures(r#"{handler="loop",cause="cpu_time"}"#) == Some(1.0)
    });
    let text = metrics(&server);
    let computed = value(&text, r#"wasgi_handler_cpu_seconds_total{handler="loop"}"#);
    assert!(computed >= Some(0.09), "{text}");
}

#[test]
fn the_memory_of_a_handler_is_that_of_its_instances() {
    let site = site();
    configure(
        &site,
        &format!("{ANY_PORT}[handlers.hello]\nreuse = 1000\n"),
    );
    let server = Server::with(&site, &[]);
    let memory = |text: &str, handler: &str| {
        let start = format!("wasgi_handler_memory_bytes{{handler=\"{handler}\",version=\"");
        let line = text.lines().find(|line| line.starts_with(&start));
        let (_, value) = line
            .and_then(|line| line.rsplit_once(' '))
            .expect("a value");
        value.parse::<f64>().expect("a number")
    };
    assert_eq!(memory(&metrics(&server), "hello"), 0.0);
    assert_eq!(server.get("/hello").status(), 200);
    eventually("its instance waits for another request", || {
        memory(&metrics(&server), "hello") > 0.0
    });
    let text = metrics(&server);
    assert_eq!(memory(&text, "other"), 0.0);
    let all = value(&text, "wasgi_instance_memory_bytes");
    assert_eq!(Some(memory(&text, "hello")), all, "{text}");
}

#[test]
fn loads_are_counted_with_the_step_that_failed() {
    let site = site();
    site.write_handler("broken.wat", "(not a module");
    // Compiles, and has more memories than an instance in the pool.
    let memory = "(memory (export \"memory\") 2)";
    let page = guests::page("a page");
    assert!(page.contains(memory));
    site.write_handler(
        "two.wat",
        page.replacen(memory, &format!("{memory} (memory 1)"), 1),
    );
    let large = File::create(site.handlers().join("large.wat"));
    let large = large.and_then(|file| file.set_len(LARGE_FILE_BYTES));
    large.expect("a file without content");
    let server = Server::with(&site, &[]);
    let count = |name: &str, labels: &str| {
        let text = metrics(&server);
        value(&text, &format!("wasgi_handler_{name}_total{labels}")).expect("a count")
    };
    assert_eq!(count("loads", r#"{result="ok"}"#), 2.0);
    for step in ["compile", "link"] {
        let labels = format!("{{step=\"{step}\"}}");
        assert_eq!(count("load_failures", &labels), 1.0, "{step}");
        assert!(count("load_seconds", &labels) > 0.0, "{step}");
    }
    assert!(count("load_failures", r#"{step="read"}"#) >= 1.0);
    assert_eq!(count("load_failures", r#"{step="import"}"#), 0.0);
    assert_eq!(count("swaps", ""), 0.0);
    site.replace_handler("hello.wat", guests::page("another page"));
    eventually("it is replaced", || count("swaps", "") == 1.0);
    assert_eq!(count("loads", r#"{result="ok"}"#), 3.0);
}

#[test]
fn a_script_that_cant_be_imported_is_a_failure_of_that_step() {
    let files = [("broken.js", "export default { fetch( {")];
    let Some((_site, server)) = JavaScript.serve(&files, ANY_PORT) else {
        return;
    };
    let text = metrics(&server);
    let failures = |step: &str| {
        let series = format!("wasgi_handler_load_failures_total{{step=\"{step}\"}}");
        value(&text, &series)
    };
    assert_eq!(failures("import"), Some(1.0), "{text}");
    assert_eq!(failures("compile"), Some(0.0), "{text}");
}

#[test]
fn handshakes_are_counted_by_result() {
    let site = site();
    let certificate = Certificate::make(site.path());
    let server = Server::with(&site, &certificate.flags());
    let elsewhere = tempfile::tempdir().expect("a folder");
    let untrusted = Certificate::make(elsewhere.path());
    let mut client = TlsClient::connect(server.addr(), &certificate);
    assert!(client.get("/").is_ok());
    let mut distrustful = TlsClient::connect(server.addr(), &untrusted);
    assert!(distrustful.get("/").is_err());
    drop(distrustful);
    // The beginning of a record, and then nothing.
    let mut silent = server.connect();
    silent.send([22, 3, 1, 1, 0]);
    drop(silent);
    // Neither has begun a handshake.
    drop(server.connect());
    let mut plain = server.connect();
    plain.send(request("GET", "/"));
    plain.response();
    eventually("they are counted", || {
        let text = metrics(&server);
        let handshakes =
            |labels: &str| value(&text, &format!("wasgi_tls_handshakes_total{labels}"));
        handshakes(r#"{result="ok"}"#) == Some(1.0)
            && handshakes(r#"{result="failed"}"#) == Some(2.0)
    });
}

#[test]
fn state_operations_and_outbound_requests_are_counted_by_result() {
    let upstream = Upstream::start();
    let site = site().with_cases(["grants", "outbound"]);
    // Nobody listens on port 1.
    let hosts = [
        format!("http://{}", upstream.addr()),
        "http://127.0.0.1:1".to_owned(),
    ];
    configure(
        &site,
        &format!(
            "{ANY_PORT}[handlers.grants]\nkey-value = [\"default\"]\n\
             [handlers.outbound]\nallowed-outbound-hosts = {hosts:?}\n"
        ),
    );
    let server = Server::with(&site, &[]);
    let count = |name: &str, result: &str| {
        let series = format!("wasgi_{name}_total{{result=\"{result}\"}}");
        value(&metrics(&server), &series).expect("a count")
    };
    assert_eq!(count("state_operations", "ok"), 0.0);
    ask(&server, "grants", "kv=default,get,key");
    assert!(count("state_operations", "ok") > 0.0);
    assert_eq!(count("state_operations", "failed"), 0.0);
    ask(
        &server,
        "outbound",
        &format!("fetch={}", upstream.url("/hello")),
    );
    assert_eq!(count("outbound_requests", "ok"), 1.0);
    assert_eq!(count("outbound_requests", "failed"), 0.0);
    ask(&server, "outbound", "fetch=http://127.0.0.1:1/");
    assert_eq!(count("outbound_requests", "ok"), 1.0);
    assert_eq!(count("outbound_requests", "failed"), 1.0);
}

#[test]
fn look_ups_of_compiled_code_are_counted_by_result() {
    let site = site();
    let cache = tempfile::tempdir().expect("a folder");
    let start = || {
        let mut command = wasgi(["serve", "--addr", "127.0.0.1:0"]);
        command
            .arg("--code-cache")
            .arg(cache.path())
            .arg(site.path());
        Server::started(Process::start(&mut command))
    };
    let look_ups = |server: &Server, result: &str| {
        let series = format!("wasgi_code_cache_lookups_total{{result=\"{result}\"}}");
        value(&metrics(server), &series).expect("a count")
    };
    let first = start();
    assert_eq!(look_ups(&first, "hit"), 0.0);
    assert!(look_ups(&first, "miss") >= 2.0);
    first.stop();
    let second = start();
    assert_eq!(look_ups(&second, "hit"), 2.0);
    assert_eq!(look_ups(&second, "miss"), 0.0);
}

#[test]
fn promtool_has_no_complaints() {
    if !is_there("promtool") {
        return;
    }
    let site = site();
    let server = Server::with(&site, &[]);
    assert_eq!(server.get("/hello").status(), 200);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is there");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin
        .write_all(metrics(&server).as_bytes())
        .expect("written");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
}

#[test]
fn the_alerts_are_rules_of_prometheus() {
    if !is_there("promtool") {
        return;
    }
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/prometheus-alerts.yml");
    let checked = Command::new("promtool")
        .args(["check", "rules", rules])
        .output();
    let checked = checked.expect("it is there");
    let told = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{told}");
}

#[test]
fn prometheus_scrapes_and_has_data_for_each_query_of_the_dashboard_and_the_alerts() {
    if !is_there("prometheus") {
        return;
    }
    let site = site().with_cases(["trap", "read-all"]);
    configure(
        &site,
        &format!("{ANY_PORT}[handlers.read-all]\nconcurrent-requests = 1\n"),
    );
    let server = Server::with(&site, &["--processes", "2"]);
    assert_eq!(server.get("/hello").status(), 200);
    assert_eq!(server.get("/trap").status(), 500);
    reject_one(&server, "read-all");
    let folder = tempfile::tempdir().expect("a folder");
    // Another server has a certificate, whose expiry is on the dashboard.
    let secure_site = Site::new().with_page("index.html", "a page");
    configure(&secure_site, ANY_PORT);
    let certificate = Certificate::make(folder.path());
    let secure = Server::with(&secure_site, &certificate.flags());
    let targets = [&server, &secure].map(address);
    let prometheus = Prometheus::start(folder.path(), &targets, SCRAPE_INTERVAL);
    let prometheus = prometheus.expect("it starts");
    // It responds with another text while it starts.
    let ask = |path: &str| -> Value {
        let response = get(prometheus.addr(), path);
        serde_json::from_str(response.text()).unwrap_or_default()
    };
    let alerts = || alert_queries(&ask("/api/v1/rules"));
    eventually("each rule is evaluated", || {
        let (wrong, queries) = alerts();
        wrong.is_empty() && queries.len() >= 8
    });
    let (_, alerts) = alerts();
    let dashboard = dashboard_queries(60);
    assert!(dashboard.len() > 20, "{dashboard:?}");
    for query in alerts.iter().chain(&dashboard) {
        // A rate needs two scrapes.
        eventually(query, || {
            let answer = ask(&query_path(query));
            assert_eq!(answer["status"], "success", "{query}: {answer}");
            let data = answer["data"]["result"].as_array();
            data.is_some_and(|data| !data.is_empty())
        });
    }
    let up = ask(&query_path("min(up)"));
    assert_eq!(up["data"]["result"][0]["value"][1], "1", "{up}");
}

/// Sends requests to a handler that takes one at a time, until one is rejected.
fn reject_one(server: &Server, handler: &str) {
    let head = format!("POST /{handler} HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\n\r\n");
    let mut open = Vec::new();
    eventually("one is rejected", || {
        // Each waits for its body. With two processes, the third can't be the only one in its own.
        let mut client = server.connect();
        client.send(&head);
        open.push(client);
        let text = metrics(server);
        let series =
            format!("wasgi_handler_failures_total{{handler=\"{handler}\",cause=\"busy\"}}");
        value(&text, &series).is_some()
    });
}
