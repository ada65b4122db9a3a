//! The measured requests of a soak: one load for each kind of page and handler, at a constant rate.
//!
//! The loads are open-loop: a request is due at a time that doesn't depend on earlier responses,
//! and its latency is counted from then. So a pause of the server counts for each request that was
//! due during it, and not only for the one that was on its way.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use processes::step;
use rustix::process::setpriority_process;

use super::handlers;
use crate::client::{Client, Response};
use crate::load::PRIORITY;
use crate::server::{ECHO, HELLO, PAGE, PAGE_TEXT};

/// The length of an upload, in bytes.
const UPLOAD_BYTES: usize = 256 * 1024;

/// The number of failures that each load describes; further ones are only counted.
const MAX_DESCRIBED_FAILURES: u64 = 10;

/// The maximum length of a request to the reference, in bytes.
const MAX_REFERENCE_REQUEST_BYTES: usize = 1024;

/// A kind of request, its rate, and the response that it gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) target: &'static str,
    interval: Duration,
    /// Whether each request has its own connection.
    closes: bool,
    expected: Expected,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Exact(&'static str),
    Containing(&'static str),
    /// The request's body. These requests are uploads.
    Upload,
    /// The number of the handler's version, which never decreases.
    Version,
}

/// The kinds of requests: about two hundred per second, which are a small part of what one
/// processor can serve. So their latency shows how long they are delayed, and not how long their
/// queue is.
const KINDS: [Kind; 8] = [
    Kind::new("page", PAGE, 20, Expected::Exact(PAGE_TEXT)),
    Kind::new(
        "page, a connection each",
        PAGE,
        40,
        Expected::Exact(PAGE_TEXT),
    )
    .closing(),
    Kind::new("WSGI handler", HELLO, 20, Expected::Containing("ello")),
    Kind::new("upload to a WSGI handler", ECHO, 200, Expected::Upload),
    Kind::new(
        "wasi:http handler",
        handlers::WASI_HTTP,
        50,
        Expected::Containing("<!doctype html>"),
    ),
    Kind::new(
        "CGI handler",
        handlers::CGI,
        50,
        Expected::Containing("CGI/1.1"),
    ),
    Kind::new("Python script", handlers::PYTHON, 100, Expected::Version),
    Kind::new(
        "JavaScript script",
        handlers::JAVASCRIPT,
        100,
        Expected::Version,
    ),
];

/// Requests to a thread of this program, which responds with the page's bytes: their latency is
/// that of the machine and of the client.
const REFERENCE: Kind = Kind::new("reference", PAGE, 20, Expected::Exact(PAGE_TEXT));

/// A response: when its request was due, since the begin of the loads, and how long it took since.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Timed {
    pub(super) at: Duration,
    pub(super) took: Duration,
}

/// The results of one load so far.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) times: Vec<Timed>,
    pub(super) failed: u64,
    /// The newest version of a script that has responded.
    pub(super) version: u64,
}

/// A running load.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) kind: Kind,
    results: Arc<Mutex<Results>>,
    thread: JoinHandle<()>,
}

impl Kind {
    const fn new(
        name: &'static str,
        target: &'static str,
        interval_ms: u64,
        expected: Expected,
    ) -> Self {
        Self {
            name,
            target,
            interval: Duration::from_millis(interval_ms),
            closes: false,
            expected,
        }
    }

    const fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// Returns the kinds whose handlers there are.
    pub(super) fn available(targets: &[&str]) -> Vec<Self> {
        let is_there = |kind: &Self| kind.target == PAGE || targets.contains(&kind.target);
        KINDS.into_iter().filter(is_there).collect()
    }

    /// Sends a request, and returns the version that responded, or 0.
    fn ask(&self, client: &mut Client, upload: &[u8], least_version: u64) -> Result<u64> {
        let response = match self.expected {
            Expected::Upload => client.post(self.target, upload)?,
            _ => client.get(self.target)?,
        };
        if self.closes {
            client.close();
        }
        let version = self.expected.check(&response, upload);
        let version = version.with_context(|| describe(&response))?;
        ensure!(
            version >= least_version,
            "version {version} responds after version {least_version}"
        );
        Ok(version)
    }
}

impl Expected {
    /// Returns the version of a valid response, and none for a wrong one.
    fn check(self, response: &Response, upload: &[u8]) -> Option<u64> {
        let text = String::from_utf8_lossy(&response.body);
        let is_good = match self {
            Self::Exact(expected) => text == expected,
            Self::Containing(part) => text.contains(part),
            Self::Upload => response.body == upload,
            Self::Version => return version(response.status, &text),
        };
        (response.status == 200 && is_good).then_some(0)
    }
}

fn version(status: u16, text: &str) -> Option<u64> {
    let number = text.strip_prefix(handlers::VERSION)?.trim_end();
    number.parse().ok().filter(|_| status == 200)
}

fn describe(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body);
    let text: String = text.chars().take(200).collect();
    format!("status {}: {text}", response.status)
}

impl Load {
    /// Starts the loads, and at last the reference.
    ///
    /// # Errors
    ///
    /// Fails if the reference can't listen.
    pub(super) fn start_all(
        address: SocketAddr,
        kinds: &[Kind],
        begin: Instant,
        ends: &Arc<AtomicBool>,
    ) -> Result<Vec<Self>> {
        let start = |kind: &Kind, address| Self::start(address, *kind, begin, ends.clone());
        let mut loads: Vec<Self> = kinds.iter().map(|kind| start(kind, address)).collect();
        loads.push(start(&REFERENCE, start_reference()?));
        Ok(loads)
    }

    fn start(address: SocketAddr, kind: Kind, begin: Instant, ends: Arc<AtomicBool>) -> Self {
        let results = Arc::new(Mutex::new(Results::default()));
        let thread = thread::spawn({
            let results = results.clone();
            move || run(address, &kind, begin, &ends, &results)
        });
        Self {
            kind,
            results,
            thread,
        }
    }

    /// Returns whether this is the load of the reference.
    pub(super) fn is_reference(&self) -> bool {
        self.kind.name == REFERENCE.name
    }

    pub(super) fn results(&self) -> MutexGuard<'_, Results> {
        lock(&self.results)
    }

    /// Waits for the last response.
    ///
    /// # Errors
    ///
    /// Fails if the load's thread panicked.
    pub(super) fn wait(self) -> Result<(Kind, Results)> {
        let panicked = |_| anyhow!("the client of {} panicked", self.kind.name);
        self.thread.join().map_err(panicked)?;
        let results = std::mem::take(&mut *lock(&self.results));
        Ok((self.kind, results))
    }
}

fn lock(results: &Mutex<Results>) -> MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(
    address: SocketAddr,
    kind: &Kind,
    begin: Instant,
    ends: &AtomicBool,
    results: &Mutex<Results>,
) {
    // Only root may do so.
    let _ = setpriority_process(None, PRIORITY);
    let upload: Vec<u8> = (0..UPLOAD_BYTES).map(|at| (at % 251) as u8).collect();
    let mut client = Client::new(address);
    let mut newest = 0;
    let mut due = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let outcome = kind.ask(&mut client, &upload, newest);
        let timed = Timed {
            at: due.saturating_duration_since(begin),
            took: due.elapsed(),
        };
        let mut results = lock(results);
        match outcome {
            Ok(version) => {
                newest = version;
                results.version = version;
                results.times.push(timed);
            }
            Err(error) => {
                results.failed += 1;
                if results.failed <= MAX_DESCRIBED_FAILURES {
                    let after = timed.took.as_millis();
                    step(format!("{} failed after {after} ms: {error:#}", kind.name));
                }
            }
        }
        due += kind.interval;
    }
}

/// Starts a server that responds to every request with the page.
fn start_reference() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("can't listen")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || respond_always(stream));
        }
    });
    Ok(address)
}

fn respond_always(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let length = PAGE_TEXT.len();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{PAGE_TEXT}");
    let mut request = Vec::new();
    let mut block = [0; MAX_REFERENCE_REQUEST_BYTES];
    while request.len() < MAX_REFERENCE_REQUEST_BYTES {
        let read = stream.read(&mut block)?;
        if read == 0 {
            break;
        }
        request.extend_from_slice(&block[..read]);
        if request.ends_with(b"\r\n\r\n") {
            stream.write_all(response.as_bytes())?;
            request.clear();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, body: &str) -> Response {
        Response {
            status,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn a_wrong_response_is_a_failure() {
        let checks = [
            (Expected::Exact("a"), "a", Some(0)),
            (Expected::Exact("a"), "ab", None),
            (Expected::Containing("b"), "abc", Some(0)),
            (Expected::Containing("b"), "ac", None),
            (Expected::Upload, "up", Some(0)),
            (Expected::Upload, "u", None),
            (Expected::Version, "version 12\n", Some(12)),
            (Expected::Version, "12\n", None),
            (Expected::Version, "version x\n", None),
        ];
        for (expected, body, version) in checks {
            let check = |status| expected.check(&response(status, body), b"up");
            assert_eq!(check(200), version, "{body}");
            assert_eq!(check(500), None, "{body}");
        }
    }

    #[test]
    fn a_handler_that_is_missing_gets_no_load() {
        let names = |targets: &[&str]| -> Vec<&str> {
            let kinds = Kind::available(targets);
            kinds.iter().map(|kind| kind.name).collect()
        };
        assert_eq!(names(&[]), ["page", "page, a connection each"]);
        assert!(names(&[HELLO]).contains(&"WSGI handler"));
    }

    /// A server that delays one response delays those that are due meanwhile.
    #[test]
    fn a_pause_counts_for_each_request_that_is_due_during_it() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            thread::sleep(Duration::from_millis(300));
            respond_always(stream)
        });
        let ends = Arc::new(AtomicBool::new(false));
        let kind = Kind::new("test", PAGE, 20, Expected::Exact(PAGE_TEXT));
        let load = Load::start(address, kind, Instant::now(), ends.clone());
        while load.results().times.len() < 10 {
            thread::sleep(Duration::from_millis(1));
        }
        ends.store(true, Ordering::Relaxed);
        let (_, results) = load.wait().expect("it ends");
        server.join().expect("it ends").expect("no error");
        assert_eq!(results.failed, 0);
        // The fifth was due 80 ms after the first, and had to wait for the rest of the pause.
        for (index, timed) in (0..5).zip(&results.times) {
            let least = Duration::from_millis(300 - 20 * index);
            assert!(timed.took >= least, "{index}: {timed:?}");
        }
    }
}
