//! Waiting: a handler's wall time excludes the time for which its client keeps it waiting, which
//! has separate limits. Handlers whose client has disconnected are ended.

use std::fs;
use std::io::Read;
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, Ending};
use crate::support::command::{code_cache, wasgi};
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::tls::{Certificate, TlsClient};

/// The handler's wall time in these tests, in seconds: much less than its client takes, and much
/// more than it needs, even on a busy machine.
const WALL_TIME: [&str; 2] = ["--max-wall-time", "2"];

/// The steps of a client that takes longer than [`WALL_TIME`].
const STEPS: usize = 40;
const STEP: Duration = Duration::from_millis(100);

/// Budgets that no handler of these tests reaches.
const ENDLESS: [&str; 6] = [
    "--max-cpu-time",
    "86400",
    "--max-wall-time",
    "86400",
    "--max-concurrent",
    "1",
];

#[test]
fn a_slow_upload_takes_nothing_of_the_handlers_wall_time() {
    let site = Site::new().with_cases(["read-all", "wasi-http", "cgi-echo"]);
    let server = Server::with(&site, &WALL_TIME);
    let targets = ["/read-all", "/wasi-http/count", "/cgi-echo"];
    let mut clients = targets.map(|target| {
        let mut client = server.connect();
        client.begin_post(target, STEPS * 1000);
        client
    });
    for _ in 0..STEPS {
        thread::sleep(STEP);
        for client in &mut clients {
            client.send([b'x'; 1000]);
        }
    }
    for (target, client) in targets.iter().zip(&mut clients) {
        assert_eq!(client.response().status(), 200, "{target}");
    }
    assert!(!server.stop().has_complaints());
}

#[test]
fn a_slow_download_takes_nothing_of_the_handlers_wall_time() {
    // Exceeds the buffers of two sockets.
    const MEBIBYTES: usize = 16;
    let site = Site::new().with_cases(["big", "wasi-http"]);
    let server = Server::with(&site, &WALL_TIME);
    let bytes = MEBIBYTES << 20;
    let targets = [
        format!("/big?n={MEBIBYTES}"),
        format!("/wasi-http/big?{bytes}"),
    ];
    let mut clients = targets.each_ref().map(|target| {
        let mut client = server.connect();
        client.request("GET", target);
        assert_eq!(client.head().status, 200);
        client
    });
    for _ in 0..STEPS {
        thread::sleep(STEP);
        for client in &mut clients {
            client.stream().read_exact(&mut [0; 1000]).expect("some");
        }
    }
    for (target, client) in targets.iter().zip(&mut clients) {
        client.finish_sending();
        let (rest, ending) = client.rest();
        assert_eq!(ending, Ending::Closed, "{target}");
        assert!(rest.len() + STEPS * 1000 >= bytes, "{target}");
    }
    assert!(!server.stop().has_complaints());
}

#[test]
fn a_stream_that_makes_progress_lives() {
    let site = Site::new().with_cases(["close-log", "wasi-http", "cgi-stream"]);
    let server = Server::with(&site, &WALL_TIME);
    let targets = [
        "/close-log?n=40&ms=100",
        "/wasi-http/stream?200",
        "/cgi-stream?200",
    ];
    let mut clients = targets.map(|target| {
        let mut client = server.connect();
        client.request("GET", target);
        client
    });
    for (target, client) in targets.iter().zip(&mut clients) {
        let response = client.try_response_to("GET");
        let response = response.unwrap_or_else(|cut| panic!("{target}: {cut:?}"));
        assert_eq!(response.status(), 200, "{target}");
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

#[test]
fn a_stream_that_makes_progress_lives_without_a_server() {
    let site = Site::new().with_cases(["close-log"]);
    let mut run = wasgi(["run", "close-log", "GET", "/close-log?n=40&ms=100"]);
    run.args(WALL_TIME).arg("--site").arg(site.path());
    run.arg("--code-cache").arg(code_cache());
    let ended = Process::start(&mut run).wait();
    assert!(ended.status.success(), "{}", ended.everything());
}

/// Blocks of which nothing is sent to the client don't count as progress.
#[test]
fn who_gives_nothing_to_its_client_has_its_wall_time_and_no_more() {
    let site = Site::new().with_cases(["close-log", "cgi-fail", "late-writes"]);
    let server = Server::with(&site, &["--max-wall-time", "0.5"]);
    for target in [
        "/close-log?n=2&rest=3600000",
        "/cgi-fail/late?sleep",
        // Beyond its Content-Length.
        "/late-writes",
    ] {
        let mut client = server.connect();
        client.request("GET", target);
        client.try_response_to("GET").err();
        let name = target.split(['/', '?']).nth(1).expect("a name");
        server
            .error_log()
            .expect(&["ERROR", &format!("{name}: took longer than 500ms")]);
    }
    server.stop();
}

/// The limits that end a request whose client keeps its handler waiting, since the handler's own
/// budgets don't.
#[test]
fn a_client_that_keeps_a_handler_waiting_is_ended_by_its_own_limits() {
    let site = Site::new().with_cases(["read-all", "big", "counter"]);
    let settings = "[budget]\nwall-time = \"1h\"\nconcurrent-requests = 1\n\
                    [limits]\nbody-timeout = \"300ms\"\nwrite-timeout = \"300ms\"\n";
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::new(&site);

    let mut silent = server.connect();
    silent.begin_post("/read-all", 9);
    silent.send("half");
    assert_eq!(silent.response().status(), 408);
    has_room(&server, "/read-all");

    let mut deaf = server.connect();
    deaf.request("GET", "/big?n=64");
    assert_eq!(deaf.head().status, 200);
    server
        .access_log()
        .expect(&["/big", "the client reads too slowly"]);
    has_room(&server, "/big?n=0");
    server.stop();
}

/// The limit applies even if both sides make steady progress.
#[test]
fn a_request_that_never_ends_is_ended_by_the_request_timeout() {
    let site = Site::new().with_cases(["close-log", "wasi-http", "cgi-stream", "read-all"]);
    let settings = "[budget]\nwall-time = \"500ms\"\nconcurrent-requests = 1\n\
                    [limits]\nrequest-timeout = \"1s\"\n";
    fs::write(site.path().join("wasgi.toml"), settings).expect("written");
    let server = Server::new(&site);
    for target in [
        "/close-log?n=1000000&ms=10",
        "/wasi-http/stream?1000000",
        "/cgi-stream?1000000",
    ] {
        let mut client = server.connect();
        client.request("GET", target);
        assert_eq!(client.cut_response().ending, Ending::Reset, "{target}");
    }
    has_room(&server, "/close-log?n=1");
    has_room(&server, "/wasi-http");
    has_room(&server, "/cgi-stream?1");

    let mut client = server.connect();
    client.begin_post("/read-all", 1 << 20);
    while client.is_quiet() {
        client.send("x");
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(client.response().status(), 408);
    has_room(&server, "/read-all");
    server.stop();
}

#[test]
fn a_handler_that_computes_ends_when_its_client_resets_the_connection() {
    let cases = ["loop", "spin-then-answer", "wasi-http", "cgi-fail"];
    let site = Site::new().with_cases(cases);
    let server = Server::with(&site, &ENDLESS);
    for (target, short) in [
        ("/loop?late", "/loop?short"),
        (
            "/spin-then-answer?millions=1000000000",
            "/spin-then-answer?millions=1",
        ),
        ("/wasi-http/loop", "/wasi-http"),
        ("/cgi-fail/late?loop", "/cgi-fail/late"),
    ] {
        for has_more in [false, true] {
            let client = begin(&server, short, |client| {
                if has_more {
                    // Exceeds what the server reads ahead, so it doesn't look at the socket any
                    // more.
                    client.begin_post(target, 64 << 20);
                    client.send_until_blocked(&vec![0; 64 << 20]);
                } else {
                    client.request("GET", target);
                }
            });
            reset(client);
            has_room(&server, short);
        }
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

#[test]
fn a_handler_that_waits_ends_when_its_client_resets_the_connection() {
    let site = Site::new().with_demos(["sleep"]).with_cases([
        "close-log",
        "wasi-http",
        "cgi-fail",
        "cgi-echo",
        "read-all",
    ]);
    let server = Server::with(&site, &ENDLESS);
    let mut waiting = 0;
    for (target, short, body) in [
        ("/sleep?ms=36000000", "/sleep?ms=0", 0),
        ("/close-log?say&n=1&ms=36000000", "/close-log?n=0", 0),
        ("/close-log?say&n=2&rest=36000000", "/close-log?n=0", 0),
        ("/cgi-fail/late?sleep", "/cgi-fail/late", 0),
        ("/read-all", "/read-all", 100),
        ("/wasi-http/count", "/wasi-http", 100),
        ("/cgi-echo", "/cgi-echo", 100),
    ] {
        let client = begin(&server, short, |client| match body {
            0 => client.request("GET", target),
            _ => client.begin_post(target, body),
        });
        if target.contains("say") {
            // Before it has a body, there is nothing to close.
            waiting += 1;
            eventually("it waits in its body", || {
                let lines = server.error_log().lines();
                let waits = |line: &&String| line.contains("close-log: waits");
                lines.iter().filter(waits).count() == waiting
            });
        }
        reset(client);
        has_room(&server, short);
    }
    let ended = server.stop();
    // One for each request with a sleep in its body, and for those that got a permit.
    let closed = ended.stderr_with(&["close-log: closed"]);
    assert!(closed >= 4, "{}", ended.everything());
    assert_eq!(ended.stderr_with(&["ERROR"]), 0, "{}", ended.everything());
}

/// The server closes the body between two of its blocks.
#[test]
fn a_body_whose_next_block_is_soon_there_is_closed_when_its_client_resets() {
    let site = Site::new().with_cases(["close-log"]);
    let server = Server::with(&site, &ENDLESS);
    let mut client = server.connect();
    client.request("GET", "/close-log?n=1000000");
    assert_eq!(client.head().status, 200);
    reset(client);
    server.error_log().expect(&["close-log: closed"]);
    server.stop();
}

#[test]
fn a_handler_that_computes_ends_when_its_client_resets_tls() {
    let site = Site::new().with_cases(["loop"]);
    let certificate = Certificate::make(site.path());
    let flags = [&ENDLESS[..], &certificate.flags()].concat();
    let server = Server::with(&site, &flags);
    let connect = || TlsClient::connect(server.addr(), &certificate);
    let mut client = connect();
    client
        .send("GET /loop?late HTTP/1.1\r\nHost: test\r\n\r\n")
        .expect("sent");
    client.take(1).expect("it has begun");
    client.reset_when_dropped();
    drop(client);
    eventually("there is room", || {
        let answer = connect().get("/loop?short").expect("an answer");
        answer.starts_with("HTTP/1.1 200")
    });
    server.stop();
}

/// A request that waits for a permit or for its turn has no handler to notify.
#[test]
fn a_request_that_has_not_begun_ends_when_its_client_resets_the_connection() {
    const CLIENTS: usize = 10;
    let site = Site::new().with_cases(["spin-then-answer"]);
    let mut flags = ENDLESS;
    flags[5] = "10";
    let server = Server::with(&site, &[&flags[..], &["--threads", "1"]].concat());
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.request("GET", "/spin-then-answer?millions=1000000000");
    }
    eventually("all are at work", || {
        let is_full = server.get("/spin-then-answer?millions=0").status() == 503;
        if !is_full {
            // This request may have had the place of a client, which was refused then.
            let mut client = server.connect();
            client.request("GET", "/spin-then-answer?millions=1000000000");
            clients.push(client);
        }
        is_full
    });
    clients.into_iter().for_each(reset);
    has_room(&server, "/spin-then-answer?millions=0");
    let mut clients: Vec<Client> = (0..CLIENTS - 1).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.request("GET", "/spin-then-answer?millions=1000000000");
    }
    // As many requests as before are accepted: none of the earlier ones is left.
    eventually("the last is refused", || {
        let mut last = server.connect();
        last.request("GET", "/spin-then-answer?millions=0");
        last.response().status() == 200
    });
    clients.into_iter().for_each(reset);
    server.stop();
}

/// A client that shuts down its sending side after the request still waits for the response.
#[test]
fn a_client_that_has_ended_its_side_gets_its_answer() {
    let site = Site::new().with_demos(["sleep"]).with_cases([
        "spin-then-answer",
        "read-all",
        "wasi-http",
        "cgi-stream",
    ]);
    let server = Server::new(&site);
    for target in [
        "/sleep?ms=300",
        "/spin-then-answer?millions=50",
        "/read-all",
        "/wasi-http/stream?10",
        "/cgi-stream?10",
    ] {
        let mut client = server.connect();
        client.request("GET", target);
        client.finish_sending();
        assert_eq!(client.response().status(), 200, "{target}");
    }
    server.stop();
}

/// Starts a request that occupies the handler's only permit. The previous request releases the
/// permit after its response, so this one may be rejected; it is then sent again.
fn begin(server: &Server, short: &str, send: impl Fn(&mut Client)) -> Client {
    let mut begun = None;
    eventually("it is at work", || {
        let client = begun.get_or_insert_with(|| {
            let mut client = server.connect();
            send(&mut client);
            client
        });
        let is_at_work = server.get(short).status() == 503;
        let is_refused = is_refused(client);
        if is_refused {
            begun = None;
        }
        is_at_work && !is_refused
    });
    begun.expect("a client")
}

/// Returns whether a 503 has been received. Doesn't block.
fn is_refused(client: &Client) -> bool {
    let stream = client.stream();
    let mut line = [0; 12];
    stream.set_nonblocking(true).expect("a mode");
    let peeked = stream.peek(&mut line);
    stream.set_nonblocking(false).expect("a mode");
    peeked.is_ok_and(|count| line.get(..count) == Some(b"HTTP/1.1 503"))
}

/// Waits until the handler's only permit is free.
fn has_room(server: &Server, short: &str) {
    eventually("there is room", || server.get(short).status() == 200);
}

fn reset(client: Client) {
    client.reset_when_dropped();
    drop(client);
}
