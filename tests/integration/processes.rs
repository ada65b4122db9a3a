//! Several worker processes that serve one site, and their supervisor.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::client::{Client, Ending};
use crate::support::command::{run, wasgi};
use crate::support::process::{Process, has_ended};
use crate::support::server::Server;
use crate::support::site::Site;
use crate::support::{PATIENCE, SetOnDrop, eventually};

/// The number of connections at which each of two workers gets at least one, except with a
/// probability of 1 in 2^63: the kernel distributes them by a hash of their addresses.
const MANY: usize = 64;

/// Exceeds the buffers of the sockets between a server and a client, in bytes: the response stays
/// in flight until the client reads.
const LARGE_PAGE_BYTES: usize = 32 << 20;

/// Serves a site with two workers.
fn two(site: &Site, flags: &[&str]) -> Server {
    let flags: Vec<&str> = ["--processes", "2", "--threads", "1"]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    Server::with(site, &flags)
}

fn page() -> Site {
    Site::new()
        .with_page("index.html", "the page")
        .with_page_handler("hello", "the handler")
}

/// Returns the worker processes of a supervisor, by their number.
fn workers(server: &Server) -> BTreeMap<u16, Pid> {
    let supervisor = server.id();
    let processes = fs::read_dir("/proc").expect("it is mounted");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let worker = |pid: i32| {
        // Processes of other tests may start and end meanwhile.
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let id = line
            .split('\0')
            .find_map(|it| it.strip_prefix("--worker="))?;
        let (number, of) = id.split_once('/').expect("a worker ID");
        (of == supervisor.to_string()).then(|| {
            (
                number.parse().expect("a number"),
                Pid::from_raw(pid).expect("an ID"),
            )
        })
    };
    pids.filter_map(worker).collect()
}

/// Returns the number of sockets that a process has open.
fn sockets(pid: Pid) -> usize {
    let folder = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let entries = fs::read_dir(folder).expect("the process is there");
    let is_socket = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
    entries
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(is_socket)
        .count()
}

/// Requests a page whose response stays in flight.
fn begin_large(server: &Server) -> Client {
    let mut client = server.connect();
    client.request("GET", "/large.bin");
    assert_eq!(client.head().status, 200);
    client
}

/// Receives the rest of that response.
#[track_caller]
fn finish_large(mut client: Client) {
    let (body, ending) = client.rest();
    assert!(body.len() == LARGE_PAGE_BYTES, "{} bytes", body.len());
    assert_eq!(ending, Ending::Closed);
}

#[test]
fn two_workers_share_a_port_and_both_serve() {
    let site = page();
    let server = two(&site, &[]);
    let workers = workers(&server);
    assert_eq!(workers.keys().copied().collect::<Vec<_>>(), [1, 2]);
    let before: usize = workers.values().map(|pid| sockets(*pid)).sum();
    let each_before: Vec<usize> = workers.values().map(|pid| sockets(*pid)).collect();
    let mut clients: Vec<Client> = (0..MANY).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "the page");
        assert_eq!(client.get("/hello").text(), "the handler");
    }
    let each: Vec<usize> = workers.values().map(|pid| sockets(*pid)).collect();
    assert!(
        each.iter()
            .zip(&each_before)
            .all(|(now, before)| now > before),
        "{each_before:?} {each:?}"
    );
    assert_eq!(each.iter().sum::<usize>(), before + MANY);
    drop(clients);
    let ended = server.stop();
    let lines_with = |part: &str| {
        ended
            .stdout
            .iter()
            .filter(|line| line.contains(part))
            .count()
    };
    assert_eq!(lines_with("listening on"), 1, "{}", ended.everything());
    assert_eq!(
        lines_with("served by 2 processes"),
        1,
        "{}",
        ended.everything()
    );
    assert_eq!(lines_with("\"GET / HTTP/1.1\" 200"), MANY);
    assert_eq!(lines_with("\"GET /hello HTTP/1.1\" 200"), MANY);
    assert_eq!(
        ended.stderr_with(&["stopping"]),
        1,
        "{}",
        ended.everything()
    );
    assert!(!ended.has_complaints(), "{}", ended.everything());
    for pid in workers.values() {
        assert!(test_kill_process(*pid).is_err(), "{pid:?} is left");
    }
}

#[test]
fn a_worker_that_is_killed_comes_back_and_the_other_serves_on() {
    let site = page();
    let server = two(&site, &[]);
    let before = workers(&server);
    let mut clients: Vec<Client> = (0..MANY).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "the page");
    }
    let others = sockets(before[&2]);
    kill_process(before[&1], Signal::KILL).expect("it is there");
    let line = server
        .error_log()
        .expect(&["worker 1 ", "signal 9 (SIGKILL)", "starting another"]);
    assert!(
        line.contains(&before[&1].as_raw_nonzero().to_string()),
        "{line}"
    );
    // No connection is refused, whether or not the worker has been replaced.
    for _ in 0..MANY {
        assert_eq!(server.get("/hello").text(), "the handler");
    }
    server.error_log().expect(&["worker 1 serves again"]);
    let after = workers(&server);
    assert_eq!(after.len(), 2);
    assert_ne!(after[&1], before[&1]);
    assert_eq!(after[&2], before[&2], "it was not disturbed");
    assert!(sockets(after[&2]) >= others, "its clients are there");
    let idle = sockets(after[&1]);
    let _more: Vec<Client> = (0..MANY)
        .map(|_| {
            let mut client = server.connect();
            assert_eq!(client.get("/").text(), "the page");
            client
        })
        .collect();
    assert!(sockets(after[&1]) > idle, "it has its share again");
    server.stop();
}

#[test]
fn a_worker_that_dies_again_and_again_comes_back_each_time() {
    let site = page();
    let server = two(&site, &[]);
    for _ in 0..4 {
        let worker = workers(&server)[&2];
        kill_process(worker, Signal::KILL).expect("it is there");
        let pid = worker.as_raw_nonzero().to_string();
        let log = server.error_log();
        log.expect(&["worker 2 ", &pid, "starting another"]);
        eventually("it is back", || {
            workers(&server).get(&2).is_some_and(|pid| *pid != worker)
        });
        let back = workers(&server)[&2].as_raw_nonzero().to_string();
        log.expect(&["worker 2 serves again", &back]);
    }
    server.stop();
}

#[test]
fn a_signal_ends_all_when_their_requests_are_done() {
    let site = page().with_page("large.bin", vec![b'a'; LARGE_PAGE_BYTES]);
    for signal in [Signal::TERM, Signal::INT] {
        let server = two(&site, &[]);
        let workers = workers(&server);
        let client = begin_large(&server);
        server.signal(signal);
        server.error_log().expect(&["stopping"]);
        eventually("new connections are refused", || {
            TcpStream::connect(server.addr()).is_err()
        });
        finish_large(client);
        let ended = server.wait();
        assert!(!ended.has_complaints(), "{}", ended.everything());
        assert!(workers.values().all(|pid| test_kill_process(*pid).is_err()));
    }
}

#[test]
fn signals_to_the_whole_group_end_in_order_too() {
    // As a terminal sends SIGINT and an init system sends SIGTERM.
    let site = page().with_page("large.bin", vec![b'a'; LARGE_PAGE_BYTES]);
    for signal in [Signal::TERM, Signal::INT] {
        let server = two(&site, &[]);
        let client = begin_large(&server);
        server.signal(signal);
        server.error_log().expect(&["stopping"]);
        for worker in workers(&server).values() {
            // An idle worker may already have ended.
            let _ = kill_process(*worker, signal);
        }
        finish_large(client);
        server.wait();
    }
}

#[test]
fn a_second_signal_ends_all_at_once() {
    let site = page().with_page("large.bin", vec![b'a'; LARGE_PAGE_BYTES]);
    let server = two(&site, &["--shutdown-grace", "3600"]);
    let client = begin_large(&server);
    server.signal(Signal::TERM);
    server.error_log().expect(&["stopping"]);
    server.signal(Signal::TERM);
    let ended = server.wait();
    ended.expect_stderr(&["second signal"]);
    ended.expect_stderr(&["1 requests were cut short"]);
    drop(client);
}

#[test]
fn workers_end_with_their_supervisor() {
    let site = page();
    let server = two(&site, &[]);
    let workers = workers(&server);
    assert_eq!(workers.len(), 2);
    server.signal(Signal::KILL);
    eventually("both have ended", || {
        workers.values().all(|pid| has_ended(*pid))
    });
    assert!(TcpStream::connect(server.addr()).is_err());
}

#[test]
fn what_changes_is_said_once_and_reaches_all_even_those_that_come_later() {
    let site = page();
    let file = site.path().join("wasgi.toml");
    fs::write(&file, "").expect("written");
    let server = two(&site, &[]);
    assert!(server.get("/").field("Server").is_some());
    fs::write(&file, "[server]\nserver-field = false\nprocesses = 3\n").expect("written");
    let line = server.error_log().expect(&["applied: "]);
    // The flag takes precedence over the file.
    assert!(line.ends_with("applied: server.server-field"), "{line}");
    eventually("both have taken it over", || {
        (0..MANY).all(|_| server.get("/").field("Server").is_none())
    });
    // An invalid file changes nothing, not even for workers that start afterwards.
    fs::write(&file, "[server]\nserver-field = 7\n").expect("written");
    server
        .error_log()
        .expect(&["server.server-field", "are unchanged"]);
    let worker = workers(&server)[&1];
    kill_process(worker, Signal::KILL).expect("it is there");
    server.error_log().expect(&["worker 1 serves again"]);
    assert!((0..MANY).all(|_| server.get("/").field("Server").is_none()));
    server.signal(Signal::HUP);
    eventually("the file was read again", || {
        let lines = server.error_log().lines();
        lines
            .iter()
            .filter(|line| line.contains("are unchanged"))
            .count()
            == 2
    });
    let ended = server.stop();
    assert_eq!(
        ended.stderr_with(&["applied: "]),
        1,
        "{}",
        ended.everything()
    );
}

#[test]
fn a_changed_handler_is_served_by_all() {
    let site = page();
    let server = two(&site, &[]);
    site.write_handler("hello.wat", crate::support::guests::page("the new one"));
    eventually("all have the new one", || {
        (0..MANY).all(|_| server.get("/hello").text() == "the new one")
    });
    server.stop();
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let site = page();
    let server = two(&site, &[]);
    let addr = server.addr().to_string();
    for processes in ["1", "2"] {
        let mut command = wasgi(["serve", "--processes", processes, "--addr", &addr]);
        let second = Process::start(command.arg(site.path())).wait();
        let line = second.refusal();
        assert!(line.contains(&addr) && line.contains("taken"), "{line}");
    }
    assert_eq!(server.get("/").text(), "the page", "the first one goes on");
    server.stop();
}

#[test]
fn a_worker_that_cant_start_ends_the_start_with_its_line() {
    let site = page();
    let missing = site.path().join("missing.pem");
    let missing = missing.to_str().expect("text");
    let mut command = wasgi(["serve", "--processes", "2", "--addr", "127.0.0.1:0"]);
    command.args(["--tls-cert", missing, "--tls-key", missing]);
    let ended = Process::start(command.arg(site.path())).wait();
    let line = ended.refusal();
    assert!(
        line.starts_with("wasgi: ") && line.contains(missing),
        "{line}"
    );
}

#[test]
fn a_worker_without_a_supervisor_is_none() {
    let site = page();
    let path = site.path().to_str().expect("text");
    let ended = run(["serve", "--worker=1/1", path]);
    let line = ended.refusal();
    assert!(line.contains("no supervisor"), "{line}");
}

#[test]
fn the_configuration_says_how_many() {
    let site = page();
    let path = site.path().to_str().expect("text");
    let ended = run(["config", "--processes", "3", path]);
    assert!(ended.status.success(), "{}", ended.everything());
    let line = "processes = 3 # flag --processes";
    assert!(
        ended.stdout.iter().any(|one| one == line),
        "{}",
        ended.everything()
    );
}

#[test]
fn a_worker_that_is_asked_to_end_finishes_and_is_replaced() {
    let site = page().with_page("large.bin", vec![b'a'; LARGE_PAGE_BYTES]);
    let server = two(&site, &[]);
    let before = workers(&server);
    let clients: Vec<Client> = (0..8).map(|_| begin_large(&server)).collect();
    kill_process(before[&1], Signal::TERM).expect("it is there");
    for mut client in clients {
        client.finish_sending();
        finish_large(client);
    }
    let pid = before[&1].as_raw_nonzero().to_string();
    let log = server.error_log();
    log.expect(&["INFO", &pid, "ended with exit status 0", "starting another"]);
    log.expect(&["worker 1 serves again"]);
    let ended = server.stop();
    assert!(!ended.has_complaints(), "{}", ended.everything());
}

#[test]
fn no_request_is_lost_but_those_that_the_dead_one_had() {
    const CLIENTS: usize = 8;
    const DEATHS: usize = 3;
    let site = page();
    let server = two(&site, &["--no-access-log"]);
    let addr = server.addr();
    // Each client has one request at a time, and each death may cost it two: the kernel closes a
    // dying process's sockets one by one, so a client whose connection was closed may reconnect
    // before the listening socket is closed.
    let most = 2 * CLIENTS * DEATHS;
    let (good, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let is_over = AtomicBool::new(false);
    let client = || {
        while !is_over.load(Ordering::Relaxed) {
            let count = match ask(addr) {
                Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => &good,
                Ok(answer) if !answer.is_empty() => panic!("{answer}"),
                Ok(_) | Err(_) => &lost,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        let _stop = SetOnDrop(&is_over);
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        let has_failed = || clients.iter().any(|client| client.is_finished());
        for _ in 0..DEATHS {
            let worker = workers(&server)[&1];
            kill_process(worker, Signal::KILL).expect("it is there");
            eventually("it is back", || {
                workers(&server).get(&1).is_some_and(|pid| *pid != worker)
            });
            let back = workers(&server)[&1].as_raw_nonzero().to_string();
            server.error_log().expect(&["worker 1 serves again", &back]);
        }
        eventually("most requests are answered", || {
            has_failed() || good.load(Ordering::Relaxed) > most
        });
    });
    let (good, lost) = (good.into_inner(), lost.into_inner());
    println!("{lost} lost, {good} answered");
    assert!(lost <= most, "{lost} lost, {good} answered");
    server.stop();
}

/// Sends one request on a new connection and returns the result.
fn ask(addr: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
