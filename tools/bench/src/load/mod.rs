//! The load generator: connections that each send a request, read the response, and send the next.
//!
//! It has two modes. Without a rate, each connection sends its next request right after a response,
//! which measures the server's maximum rate. With a rate, requests are due at regular intervals,
//! and a response time starts when the request was due, even if it had to wait for a free
//! connection: a server that pauses delays all requests that are due during the pause.

mod durations;
mod response;
mod worker;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

use self::durations::Durations;
use self::worker::Worker;
use crate::arguments::Arguments;

#[cfg(feature = "instructions")]
pub(crate) use self::response::Response;

/// The descriptors in addition to those of the connections: standard streams, and an epoll for each
/// thread.
const OTHER_DESCRIPTORS: u64 = 64;

/// The time that a run waits after its end for responses in flight, and the limit for all responses
/// if each connection sends one request.
const PATIENCE: Duration = Duration::from_secs(20);

/// The nice value of a generator with a rate, if that is permitted. Otherwise it waits for up to a
/// tick of the kernel's clock each time that another process uses its processor.
const PACED_PRIORITY: i32 = -19;

/// The request and the plan.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    address: SocketAddr,
    path: String,
    connections: usize,
    threads: usize,
    plan: Plan,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug)]
enum Plan {
    /// One on each connection, all at once.
    Once,
    /// Sends requests for some time, each as soon as its connection is free.
    Closed { warm_up: Duration, time: Duration },
    /// Sends requests for some time, at a fixed rate per second.
    Paced {
        warm_up: Duration,
        time: Duration,
        per_second: f64,
    },
}

impl Options {
    /// Parses the arguments.
    pub(crate) fn take(arguments: &mut Arguments) -> Result<Self> {
        let plan = if arguments.flag("--once") {
            Plan::Once
        } else {
            let seconds = |value: f64| Duration::try_from_secs_f64(value);
            let time = seconds(arguments.need("--seconds")?)?;
            let warm_up = seconds(arguments.take("--warm-up")?.unwrap_or(0.0))?;
            match arguments.take::<f64>("--rate")? {
                Some(per_second) if per_second.is_finite() && per_second > 0.0 => Plan::Paced {
                    warm_up,
                    time,
                    per_second,
                },
                Some(rate) => bail!("--rate must be greater than zero, not {rate}"),
                None => Plan::Closed { warm_up, time },
            }
        };
        let options = Self {
            address: arguments.need("--addr")?,
            path: arguments.need("--path")?,
            connections: arguments.need("--connections")?,
            threads: arguments.take("--threads")?.unwrap_or(1),
            plan,
        };
        arguments.finish()?;
        ensure!(
            options.threads > 0 && options.connections >= options.threads,
            "--threads must be between 1 and the number of connections"
        );
        Ok(options)
    }

    fn request(&self) -> Vec<u8> {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.path, self.address
        )
        .into_bytes()
    }
}

/// The results of the requests.
#[derive(Debug)]
struct Outcome {
    /// Good responses within the measured time.
    answered: u64,
    /// Good responses, including those of the warm-up and after the end.
    all: u64,
    /// Other responses, missing responses, and broken connections.
    failed: u64,
    times: Durations,
    /// The delay of this program itself with requests that are due: it can't send while it is not
    /// running.
    late: Durations,
    /// The duration from the start of the measured time to its end, or to the last response if each
    /// connection sends one request.
    measured: Duration,
}

impl Outcome {
    fn new() -> Result<Self> {
        Ok(Self {
            answered: 0,
            all: 0,
            failed: 0,
            times: Durations::new()?,
            late: Durations::new()?,
            measured: Duration::ZERO,
        })
    }

    fn merge(&mut self, other: &Self) -> Result<()> {
        self.answered += other.answered;
        self.all += other.all;
        self.failed += other.failed;
        self.measured = self.measured.max(other.measured);
        self.times.merge(&other.times)?;
        self.late.merge(&other.late)
    }
}

/// Sends requests and prints the results.
///
/// # Errors
///
/// Fails if it can't connect, or the process may not open enough connections.
pub(crate) fn run(options: &Options) -> Result<()> {
    allow_descriptors(options.connections as u64 + OTHER_DESCRIPTORS)?;
    if matches!(options.plan, Plan::Paced { .. }) {
        // Only root may do so. The printed delay shows the effect.
        let _ = setpriority_process(None, PACED_PRIORITY);
    }
    let workers: Vec<Worker> = (0..options.threads)
        .map(|index| Worker::connect(options, share(options.connections, options.threads, index)))
        .collect::<Result<_>>()?;
    let start = Instant::now();
    let threads: Vec<_> = workers
        .into_iter()
        .map(|worker| thread::spawn(move || worker.run(start)))
        .collect();
    let mut outcome = Outcome::new()?;
    for thread in threads {
        match thread.join() {
            Ok(part) => outcome.merge(&part?)?,
            Err(_) => bail!("a thread panicked"),
        }
    }
    print(&outcome);
    Ok(())
}

/// Returns the part of `all` that belongs to the thread with this index.
fn share(all: usize, threads: usize, index: usize) -> usize {
    all / threads + usize::from(index < all % threads)
}

fn print(outcome: &Outcome) {
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let results = json!({
        "answered": outcome.answered,
        "all": outcome.all,
        "failed": outcome.failed,
        "seconds": outcome.measured.as_secs_f64(),
        "p50-us": micros(outcome.times.percentile(50.0)),
        "p99-us": micros(outcome.times.percentile(99.0)),
        "max-us": micros(outcome.times.percentile(100.0)),
        "late-p99-us": micros(outcome.late.percentile(99.0)),
        "cpu-us": cpu.tv_sec * 1_000_000 + cpu.tv_nsec / 1000,
    });
    println!("{results}");
}

fn allow_descriptors(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).with_context(|| {
        format!("{wanted} file descriptors are needed, but the limit is lower (see `ulimit -Hn`)")
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn all_connections_are_somebodys() {
        for (all, threads) in [(64, 1), (64, 3), (5, 4), (4, 4)] {
            let sum: usize = (0..threads).map(|index| share(all, threads, index)).sum();
            assert_eq!(sum, all);
        }
    }

    #[test]
    fn a_plan_is_understood_or_refused() {
        let take = |text: &str| {
            let all = format!("--addr 127.0.0.1:1 --path / --connections 2 {text}");
            let words = all.split(' ').map(OsString::from);
            Options::take(&mut Arguments::new(words)?).map(|options| options.plan)
        };
        assert!(matches!(take("--once"), Ok(Plan::Once)));
        assert!(matches!(take("--seconds 2"), Ok(Plan::Closed { .. })));
        let paced = take("--seconds 2 --rate 9");
        assert!(matches!(paced, Ok(Plan::Paced { per_second, .. }) if per_second == 9.0));
        assert!(take("--seconds -1").is_err());
        assert!(take("--seconds 1 --rate 0").is_err());
        assert!(take("--seconds 1 --threads 3").is_err());
        assert!(take("--once --rate 1").is_err());
    }
}
