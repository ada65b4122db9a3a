//! Faults that only show in the long run: leaks, work that never ends, and unexpected states.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::client::{Client, Ending};
use crate::support::command::code_cache;
use crate::support::eventually;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::site::Site;

/// A reproducible pseudo-random number generator (Marsaglia's xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).expect("less than the limit")
    }
}

/// The requests that a client may send.
const REQUESTS: [&str; 16] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /big.bin HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /missing HTTP/1.0\r\n\r\n",
    "GET /counter HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /sleep?ms=30 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /stream?n=5&ms=5 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /big?n=2 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /trap HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /exception-mid-stream HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /short-body HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na body",
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\na body\r\n0\r\n\r\n",
    "POST /read-none HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na body",
    "POST /read-all HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\na body",
    "nonsense\r\n\r\n",
];

/// Sends some requests, possibly an incomplete one at the end, receives some or none of the
/// responses, and disconnects in one of several ways.
fn visit(server: &Server, numbers: &mut Numbers) {
    let mut client = server.connect();
    for _ in 0..=numbers.below(4) {
        let request = REQUESTS[numbers.below(REQUESTS.len())].as_bytes();
        let is_part = numbers.below(4) == 0;
        let sent = match is_part {
            true => client.try_send(&request[..numbers.below(request.len())]),
            false => client.try_send(request),
        };
        // The server closes the connection after some responses.
        if sent.is_err() || is_part {
            break;
        }
        if numbers.below(2) == 0 {
            client.take_something();
        }
    }
    match numbers.below(4) {
        0 => client.reset_when_dropped(),
        1 => {
            client.try_finish_sending();
            client.take_something();
        }
        _ => {}
    }
}

fn busy_site() -> Site {
    Site::new()
        .with_page("index.html", "the page")
        .with_page("big.bin", vec![b'x'; 3_000_000])
        .with_demos(["sleep", "stream", "echo"])
        .with_cases([
            "counter",
            "big",
            "trap",
            "exception-mid-stream",
            "short-body",
            "read-none",
            "read-all",
        ])
}

#[test]
fn clients_that_do_anything_leave_nothing_behind() {
    const CONCURRENT: usize = 50;
    let site = busy_site();
    let limit = CONCURRENT.to_string();
    let server = Server::with(&site, &["--max-concurrent", &limit]);
    server.get("/counter");
    let descriptors = server.standing_descriptors();
    thread::scope(|scope| {
        for seed in 1..=4 {
            let server = &server;
            scope.spawn(move || {
                let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
                for _ in 0..150 {
                    visit(server, &mut numbers);
                }
            });
        }
    });
    eventually("their descriptors are closed", || {
        server.descriptors() <= descriptors
    });
    // All permits of every handler are free again: the maximum number of requests can run at the
    // same time.
    for handler in ["echo", "read-all"] {
        let begin = |_| {
            let mut client = server.connect();
            client.send(format!(
                "POST /{handler} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\
                 Expect: 100-continue\r\n\r\n"
            ));
            assert_eq!(client.head().status, 100);
            client
        };
        let mut clients: Vec<Client> = (0..CONCURRENT).map(begin).collect();
        assert_eq!(server.get(&format!("/{handler}")).status(), 503);
        for client in &mut clients {
            client.send("ok");
            assert_eq!(client.response().status(), 200);
        }
    }
    let ended = server.stop();

    assert!(
        !ended.everything().contains("panicked"),
        "{}",
        ended.everything()
    );
}

#[test]
fn memory_stays_flat_over_thousands_of_requests() {
    const ROUNDS: usize = 60;
    const AHEAD: usize = 100;
    // A leak in each request, multiplied by some thousands, would exceed this: even the size of an
    // access log line, a waker and a deadline would.
    const GROWTH_BYTES: u64 = 2 * 1024 * 1024;
    let site = busy_site();
    let server = Server::with(&site, &["--threads", "1", "--no-access-log"]);
    let mut client = server.connect();
    let mut rounds = |count: usize| {
        for _ in 0..count {
            client.send("GET /counter HTTP/1.1\r\nHost: a\r\n\r\n".repeat(AHEAD));
            for _ in 0..AHEAD {
                assert_eq!(client.response().text(), "1");
            }
            assert_eq!(client.get("/").text(), "the page");
            server.get("/");
        }
    };
    rounds(ROUNDS);
    let before = server.resident_bytes();
    rounds(2 * ROUNDS);
    let growth = server.resident_bytes().saturating_sub(before);
    assert!(growth < GROWTH_BYTES, "grew by {growth} bytes");
    server.stop();
}

#[test]
fn waiting_uses_no_processor_time() {
    let site = busy_site();
    let server = Server::new(&site);
    let begin = |text: &str| {
        let mut client = server.connect();
        client.send(text);
        client
    };
    // Every state in which a connection can wait.
    let idle = begin("");
    let head = begin("GET / HT");
    let body = begin("POST /read-all HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na");
    let away = begin("POST /missing HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\na");
    let page = begin(&REQUESTS[1].repeat(9));
    let blocks = begin(&REQUESTS[7].repeat(9));
    let sleep = begin("GET /sleep?ms=20000 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut half_closed = begin("GET /sleep?ms=20000 HTTP/1.1\r\nHost: a\r\n\r\n");
    half_closed.finish_sending();
    let ahead = begin(&format!(
        "GET /sleep?ms=20000 HTTP/1.1\r\nHost: a\r\n\r\n{}",
        REQUESTS[0].repeat(3000)
    ));
    let mut used = begin("");
    assert_eq!(used.get("/counter").text(), "1");
    thread::sleep(Duration::from_millis(500));

    let before = server.cpu_ticks();
    thread::sleep(Duration::from_secs(2));
    // Of the 200 ticks that each processor has in this time.
    let ticks = server.cpu_ticks() - before;
    assert!(ticks < 20, "{ticks} hundredths of a second");
    drop((
        idle,
        head,
        body,
        away,
        page,
        blocks,
        sleep,
        half_closed,
        ahead,
        used,
    ));
}

#[test]
fn a_server_without_descriptors_recovers() {
    let site = busy_site();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 80 && exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_wasgi"))
        .args([
            "serve",
            "--addr",
            "127.0.0.1:0",
            "--threads",
            "1",
            "--code-cache",
        ])
        .arg(code_cache())
        .arg(site.path());
    let server = Server::started(Process::start(&mut command));
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    server.error_log().expect(&["WARN", "can't accept"]);
    // Accepted connections are served, but possibly without files, since no descriptor is left to
    // open one.
    assert_eq!(clients[0].get("/counter").text(), "1");
    let page = clients[0].get("/");
    assert!(matches!(page.status(), 200 | 503), "{}", page.status());
    clients.truncate(20);
    assert_eq!(clients[19].get("/").text(), "the page");
    assert_eq!(server.get("/counter").text(), "1");
    drop(clients);
    let ended = server.stop();
    let told = ended.stderr_with(&["can't accept"]);
    assert!((1..20).contains(&told), "told {told} times");
}

#[test]
fn a_client_that_resets_in_the_middle_of_everything_is_no_error() {
    let site = busy_site();
    let server = Server::new(&site);
    for request in REQUESTS {
        for wait in [false, true] {
            let mut client = server.connect();
            client.send(request);
            if wait {
                client.take_something();
            }
            client.reset_when_dropped();
        }
    }
    let mut client = server.connect();
    assert_eq!(client.get("/counter").text(), "1");
    client.finish_sending();
    assert_eq!(client.ending(), Ending::Closed);
    let ended = server.stop();
    // These handlers fail on purpose.
    let own = ["trap: ", "exception-mid-stream: ", "short-body: "];
    let own: usize = own
        .iter()
        .map(|name| ended.stderr_with(&["ERROR", name]))
        .sum();
    assert_eq!(ended.stderr_with(&["ERROR"]), own, "{}", ended.everything());
}

#[test]
fn the_failure_of_a_request_whose_client_has_left_is_nobody_elses() {
    let site = busy_site();
    site.install("loop.wasm", &crate::support::guests::case("loop"));
    let flags = [
        "--threads",
        "1",
        "--max-cpu-time",
        "86400",
        "--max-wall-time",
        "86400",
    ];
    let server = Server::with(&site, &flags);
    // Keeps the thread busy, so that it sees a request and its client's disconnection at the same
    // time.
    let mut busy = server.connect();
    busy.request("GET", "/loop?late");
    assert_eq!(busy.chunk_behind_head(), b"begun");
    for _ in 0..50 {
        let (mut leaves, mut stays) = (server.connect(), server.connect());
        leaves.reset_when_dropped();
        for client in [&mut leaves, &mut stays] {
            assert_eq!(client.get("/").text(), "the page");
        }
        leaves.request("GET", "/trap");
        stays.request("GET", "/stream?n=2&ms=1");
        drop(leaves);
        assert_eq!(stays.response().text(), "block 1 of 2\nblock 2 of 2\n");
    }
}
