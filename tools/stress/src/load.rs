//! Sends one kind of request repeatedly at a bounded rate, and measures how many responses arrive
//! and how long the slowest takes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use processes::step;
use rustix::process::setpriority_process;

use crate::client::{Client, Response};
use crate::server::{ECHO, HELLO, PAGE, PAGE_TEXT};

/// The nice value of a client, if that is permitted: it should measure the server, and not its own
/// wait for a processor.
pub(crate) const PRIORITY: i32 = -19;

/// The length of an upload, in bytes.
const UPLOAD_BYTES: usize = 256 * 1024;

/// The number of failures that are described; further ones are only counted.
const MAX_DESCRIBED_FAILURES: u64 = 10;

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Page,
    Handler,
    /// An upload to an echo handler.
    Upload,
}

/// Requests of one kind, in a separate thread.
#[derive(Debug)]
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

/// The results of the requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) longest: Duration,
    times: Vec<Duration>,
}

impl Load {
    /// Sends a request in each interval, or after the previous response if that is later.
    pub(crate) fn start(address: SocketAddr, task: Task, interval: Duration) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let ends = ends.clone();
            move || run(address, task, interval, &ends)
        });
        Self { ends, thread }
    }

    /// Ends the load.
    ///
    /// # Errors
    ///
    /// Fails if its thread panicked.
    pub(crate) fn finish(self) -> Result<Outcome> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("a client panicked"))
    }
}

fn run(address: SocketAddr, task: Task, interval: Duration, ends: &AtomicBool) -> Outcome {
    // Only root may do so.
    let _ = setpriority_process(None, PRIORITY);
    let upload: Vec<u8> = (0..UPLOAD_BYTES).map(|at| (at % 251) as u8).collect();
    let mut client = Client::new(address);
    let mut outcome = Outcome::default();
    let mut due = Instant::now();
    while !ends.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let begin = Instant::now();
        let response = match task {
            Task::Page => client.get(PAGE),
            Task::Handler => client.get(HELLO),
            Task::Upload => client.post(ECHO, &upload),
        };
        let took = begin.elapsed();
        match response {
            Ok(response) if is_good(task, &response, &upload) => {
                outcome.answered += 1;
                outcome.longest = outcome.longest.max(took);
                outcome.times.push(took);
            }
            wrong => outcome.fail(task, wrong),
        }
        due = (due + interval).max(Instant::now());
    }
    outcome
}

fn is_good(task: Task, response: &Response, upload: &[u8]) -> bool {
    response.status == 200
        && match task {
            Task::Page => response.body == PAGE_TEXT.as_bytes(),
            Task::Handler => !response.body.is_empty(),
            Task::Upload => response.body == upload,
        }
}

impl Outcome {
    fn fail(&mut self, task: Task, wrong: Result<Response>) {
        self.failed += 1;
        if self.failed <= MAX_DESCRIBED_FAILURES {
            let what = match wrong {
                Ok(response) => {
                    let text: String = String::from_utf8_lossy(&response.body)
                        .chars()
                        .take(200)
                        .collect();
                    format!("status {}: {text}", response.status)
                }
                Err(error) => format!("{error:#}"),
            };
            step(format!("{task:?} failed: {what}"));
        }
    }
}

/// Returns the time that `percent` of the requests do not exceed.
pub(crate) fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * percent / 100;
    times.get(at).copied().unwrap_or_default()
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(
            f,
            "{} answered, {} failed; p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms",
            self.answered,
            self.failed,
            ms(percentile(&self.times, 50)),
            ms(percentile(&self.times, 99)),
            ms(self.longest)
        )
    }
}
