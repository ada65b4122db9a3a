//! Isolation: a failure ends only its own request, and no state of a request is visible to the
//! next.

use crate::support::client::{Client, Ending};
use crate::support::eventually;
use crate::support::server::Server;
use crate::support::site::Site;

#[test]
fn memory_is_fresh_for_each_request() {
    let site = Site::new().with_cases(["counter"]);
    let server = Server::new(&site);
    let mut client = server.connect();
    for _ in 0..50 {
        assert_eq!(client.get("/counter").text(), "1");
    }
    // All requests run at the same time, several times in a row.
    let mut clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.request("GET", "/counter");
        }
        for client in &mut clients {
            assert_eq!(client.response().text(), "1");
        }
    }
    server.stop();
}

#[test]
fn each_way_to_fail_has_its_status_its_line_and_no_consequence() {
    let site = Site::new().with_demos(["fail"]).with_cases([
        "counter",
        "trap",
        "panic",
        "exception",
        "memory",
        "loop",
        "stack",
        "no-start",
    ]);
    let flags = ["--max-cpu-time", "0.3", "--max-memory", "16"];
    let server = Server::with(&site, &flags);
    let mut client = server.connect();
    let ways: [(&str, u16, &[&str]); 13] = [
        ("/trap", 500, &["ERROR", "trap: ", "unreachable"]),
        (
            "/panic?why",
            500,
            &["ERROR", "panic: panicked", "asked to panic with \"why\""],
        ),
        (
            "/exception",
            500,
            &["ERROR", "exception: raised ValueError", "no number"],
        ),
        (
            "/memory",
            500,
            &[
                "ERROR",
                "memory: ran out of memory",
                "16 MiB",
                "--max-memory",
            ],
        ),
        (
            "/loop",
            504,
            &["ERROR", "loop: computed for longer", "--max-cpu-time"],
        ),
        ("/stack", 500, &["ERROR", "stack: trapped: ", "stack"]),
        ("/no-start", 500, &["ERROR", "no-start: ", "start_response"]),
        (
            "/fail?how=panic",
            500,
            &["ERROR", "fail: panicked", "as it was asked to"],
        ),
        (
            "/fail?how=loop",
            504,
            &["ERROR", "fail: computed for longer"],
        ),
        (
            "/fail?how=memory",
            500,
            &["ERROR", "fail: ran out of memory"],
        ),
        (
            "/fail?how=exception",
            500,
            &["ERROR", "fail: raised ParseIntError"],
        ),
        (
            "/fail?how=twice",
            500,
            &["ERROR", "fail: raised StartError"],
        ),
        ("/fail?how=gracefully", 400, &[]),
    ];
    for (target, status, line) in ways {
        let response = client.get(target);
        assert_eq!(response.status(), status, "{target}");
        if !line.is_empty() {
            server.error_log().expect(line);
        }
        // The reason of the failure is only in the log.
        for secret in ["asked to", "four hundred", "src/", "wasm"] {
            assert!(
                !response.text().contains(secret),
                "{target}: {}",
                response.text()
            );
        }
        assert_eq!(client.get("/counter").text(), "1", "after {target}");
    }
    let ended = server.stop();
    assert_eq!(ended.stderr_with(&["ERROR"]), 12, "{}", ended.everything());
}

#[test]
fn many_failures_leave_nothing_behind() {
    let site = Site::new().with_cases(["counter", "trap", "exception-mid-stream"]);
    let server = Server::new(&site);
    for _ in 0..10 {
        server.get("/counter");
        server.get("/trap");
    }
    let descriptors = server.standing_descriptors();
    for _ in 0..200 {
        assert_eq!(server.get("/trap").status(), 500);
        let mut client = server.connect();
        client.request("GET", "/exception-mid-stream");
        client.cut_response();
    }
    assert_eq!(server.get("/counter").text(), "1");
    eventually("their descriptors are closed", || {
        server.descriptors() <= descriptors
    });
    server.stop();
}

#[test]
fn a_failure_behind_the_head_cuts_the_connection() {
    let site = Site::new().with_demos(["sleep"]).with_cases([
        "counter",
        "exception-mid-stream",
        "loop",
        "close-log",
    ]);
    let flags = ["--max-cpu-time", "0.2", "--max-wall-time", "1"];
    let server = Server::with(&site, &flags);
    let ways: [(&str, &[u8], &[&str]); 3] = [
        (
            "/exception-mid-stream",
            b"onetwo",
            &["exception-mid-stream: raised MidStream", "no third block"],
        ),
        ("/loop?late", b"begun", &["loop: computed for longer"]),
        (
            "/close-log?n=2&rest=60000",
            &[b'x'; 4096],
            &["close-log: took longer than 1s", "--max-wall-time"],
        ),
    ];
    for (target, body, line) in ways {
        let mut client = server.connect();
        client.request("GET", target);
        let cut = client.cut_response();
        assert_eq!(cut.head.map(|head| head.status), Some(200), "{target}");
        assert_eq!((&*cut.body, cut.ending), (body, Ending::Reset), "{target}");
        server.error_log().expect(&[&["ERROR"], line].concat());

        // In HTTP/1.0 the end of the connection ends the body, so an incomplete body ends with a
        // reset.
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(client.cut_response().ending, Ending::Reset, "{target}");
        assert_eq!(server.get("/counter").text(), "1", "after {target}");
    }
    server.stop();
}

#[test]
fn a_handler_that_takes_too_long_is_a_504() {
    let site = Site::new().with_demos(["sleep"]).with_cases(["counter"]);
    let server = Server::with(&site, &["--max-wall-time", "0.3"]);
    let mut client = server.connect();
    assert_eq!(client.get("/sleep?ms=60000").status(), 504);
    server
        .error_log()
        .expect(&["ERROR", "sleep: took longer than 300ms (--max-wall-time)"]);
    assert_eq!(client.get("/counter").text(), "1");
    assert_eq!(client.get("/sleep?ms=1").status(), 200);
    server.stop();
}

#[test]
fn time_spent_waiting_is_not_computing() {
    let site = Site::new()
        .with_demos(["sleep"])
        .with_cases(["spin-then-answer"]);
    let server = Server::with(&site, &["--max-cpu-time", "0.1"]);
    assert_eq!(server.get("/sleep?ms=500").status(), 200);
    assert_eq!(server.get("/spin-then-answer?millions=20000").status(), 504);
    server.stop();
}

#[test]
fn a_handler_that_computes_gets_to_its_end() {
    let site = Site::new().with_cases(["spin-then-answer"]);
    let server = Server::new(&site);
    // Each request runs for several ticks, on several connections at once.
    let mut clients: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.request("GET", "/spin-then-answer?millions=20");
    }
    for client in &mut clients {
        assert_eq!(client.response().text().len(), 16);
    }
    server.stop();
}

#[test]
fn ten_endless_loops_leave_room_for_others() {
    let site = Site::new()
        .with_page("index.html", "the page")
        .with_demos(["hello", "sleep"])
        .with_cases(["loop"]);
    let flags = ["--max-cpu-time", "86400", "--max-wall-time", "86400"];
    let server = Server::with(&site, &flags);
    let mut loops: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut loops {
        client.request("GET", "/loop?late");
        assert_eq!(client.chunk_behind_head(), b"begun");
    }
    for _ in 0..10 {
        assert_eq!(server.get("/hello").status(), 200);
        assert_eq!(server.get("/").text(), "the page");
        assert_eq!(server.get("/sleep?ms=1").status(), 200);
    }
    assert!(loops.iter_mut().all(Client::is_quiet), "they compute still");
    // The loops would run for a day; the server isn't stopped in order, so the test doesn't wait
    // for them.
}

#[test]
fn loops_end_with_their_budget_and_not_before() {
    let site = Site::new().with_cases(["loop", "counter"]);
    let server = Server::with(&site, &["--max-cpu-time", "0.2"]);
    let mut loops: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for client in &mut loops {
        client.request("GET", "/loop");
    }
    for client in &mut loops {
        assert_eq!(client.response().status(), 504);
        assert_eq!(client.get("/counter").text(), "1");
    }
    server.stop();
}

#[test]
fn a_handler_with_too_much_in_work_is_a_503() {
    let site = Site::new().with_demos(["echo"]).with_cases(["counter"]);
    let server = Server::with(&site, &["--max-concurrent", "2"]);
    let begin = || {
        let mut client = server.connect();
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("4\r\nhalf\r\n");
        assert_eq!(client.chunk_behind_head(), b"half");
        client
    };
    let mut at_work = [begin(), begin()];
    let mut third = server.connect();
    let busy = third.get("/echo");
    assert_eq!(busy.status(), 503);
    assert_eq!(busy.field("Retry-After"), Some("1"));
    assert_eq!(
        third.get("/counter").text(),
        "1",
        "another handler has room"
    );
    server
        .error_log()
        .expect(&["WARN", "echo: ", "--max-concurrent"]);
    for client in &mut at_work {
        client.send("0\r\n\r\n");
        assert_eq!(client.chunk(), b"");
    }
    eventually("there is room again", || third.get("/echo").status() == 200);
    server.stop();
}

#[test]
fn a_place_in_work_is_given_back_by_whoever_fails_or_leaves() {
    let site = Site::new()
        .with_demos(["echo", "fail"])
        .with_cases(["exception-mid-stream"]);
    let flags = [
        "--max-concurrent",
        "1",
        "--max-cpu-time",
        "0.1",
        "--max-wall-time",
        "5",
    ];
    let server = Server::with(&site, &flags);
    for how in ["panic", "loop", "memory", "exception", "twice"] {
        let status = server.get(&format!("/fail?how={how}")).status();
        assert!(matches!(status, 500 | 504), "{how}: {status}");
    }
    for _ in 0..5 {
        // The permit is released when the call ends, which may be after the response.
        eventually("there is room", || {
            let mut client = server.connect();
            client.request("GET", "/exception-mid-stream");
            client.try_response_to("GET").is_err()
        });
    }
    for _ in 0..3 {
        let mut client = server.connect();
        client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf");
        drop(client);
        eventually("there is room", || server.get("/echo").status() == 200);
    }
    server.stop();
}

#[test]
fn a_handler_has_no_files_no_network_and_no_environment() {
    let site = Site::new().with_cases(["wasi-files"]);
    let server = Server::new(&site);
    let response = server.get("/wasi-files");
    let text = response.text();
    assert_eq!(response.status(), 200, "{text}");
    assert!(!text.contains("granted"), "{text}");
    assert_eq!(text.matches(": denied").count(), 8, "{text}");
    assert!(
        text.contains("0 environment variables, 0 arguments"),
        "{text}"
    );
    server.stop();
}

#[test]
fn memory_is_what_the_budget_says() {
    let site = Site::new().with_cases(["memory"]);
    for mebibytes in [8, 64] {
        let server = Server::with(&site, &["--max-memory", &mebibytes.to_string()]);
        let response = server.get("/memory?try");
        assert_eq!(response.status(), 200);
        let got: usize = response
            .text()
            .strip_suffix(" MiB")
            .and_then(|n| n.parse().ok())
            .expect("a number");
        assert!(
            (mebibytes / 2..mebibytes).contains(&got),
            "{got} of {mebibytes}"
        );
        server.stop();
    }
}

#[test]
fn the_head_is_limited() {
    let site = Site::new().with_cases(["big-head"]);
    let server = Server::with(&site, &["--max-response-head", "4"]);
    assert_eq!(server.get("/big-head?bytes=4000").text(), "accepted");
    let refused = server.get("/big-head?bytes=4096");
    assert!(
        refused.text().starts_with("refused: "),
        "{}",
        refused.text()
    );
    assert!(refused.text().contains("--max-response-head"));
    server.stop();
}

#[test]
fn the_log_is_limited() {
    let site = Site::new().with_cases(["errors"]);
    let server = Server::with(&site, &["--max-log", "1"]);
    assert_eq!(server.get("/errors?n=10000").text(), "10000 lines");
    assert_eq!(server.get("/errors?n=1").text(), "1 lines");
    let ended = server.stop();
    assert_eq!(
        ended.stderr_with(&["--max-log"]),
        1,
        "{}",
        ended.everything()
    );
    let lines = ended.stderr_with(&["errors: line "]);
    // Each line takes about 50 bytes, including its time, level and name.
    assert!((15..30).contains(&lines), "{}", ended.everything());
    // The second request has its own budget.
    assert_eq!(ended.stderr_with(&["to standard error"]), 1);
}

#[test]
fn what_a_handler_says_cant_disturb_the_log() {
    let site = Site::new().with_cases(["errors", "exception"]);
    let server = Server::new(&site);
    let said = "%1b%5B31m%0d%c2%9b%0aERROR%20fake";
    assert_eq!(server.get(&format!("/errors?say={said}")).status(), 200);
    assert_eq!(server.get(&format!("/exception?say={said}")).status(), 500);
    let ended = server.stop();
    for line in &ended.stderr {
        assert!(!line.contains(['\x1b', '\r', '\u{9b}']), "{line:?}");
        assert!(!line.starts_with("ERROR fake"), "{line:?}");
    }
    assert!(
        ended.stderr_with(&["ERROR fake"]) >= 5,
        "{}",
        ended.everything()
    );
}
