//! A run of the load generator: its arguments, and its results.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::CpuSet;
use serde_json::Value;

use super::server::spawn_on;

/// The number of connections of a contest: a usual value for `wrk`.
pub(super) const CONNECTIONS: u32 = 64;

/// The number of connections for responses from [`LARGE_BYTES`] on: with many, most of the data
/// sent in a round would belong to responses that end after it.
pub(super) const CONNECTIONS_FOR_LARGE: u32 = 4;

/// The length of a response that takes at least a millisecond.
const LARGE_BYTES: usize = 1 << 20;

/// The time before the measurement, in which the buffers of both sides adapt their sizes.
const WARM_UP: Duration = Duration::from_millis(300);

/// How much a run may exceed its planned time before it is ended.
const OVERRUN_LIMIT: Duration = Duration::from_secs(40);

/// The plan of a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// The maximum rate, for a given time.
    Full {
        time: Duration,
        threads: usize,
        connections: u32,
    },
    /// A fixed rate, for a given time.
    Paced { time: Duration, per_second: f64 },
    /// One request on each connection.
    Once { connections: u32 },
}

/// The results of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Good responses within the measured time.
    pub(super) answered: f64,
    /// All good responses.
    pub(super) all: f64,
    pub(super) failed: f64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The 99th percentile of the load generator's own delay, in µs.
    pub(super) late_p99_us: f64,
    /// The CPU time of the load generator.
    pub(super) cpu_seconds: f64,
}

/// Returns the number of connections for responses of this length.
pub(super) fn connections(answer_bytes: usize) -> u32 {
    if answer_bytes < LARGE_BYTES {
        CONNECTIONS
    } else {
        CONNECTIONS_FOR_LARGE
    }
}

/// Runs the load generator, `own load`, and calls `watch` every few milliseconds.
///
/// # Errors
///
/// Fails if it fails, or does not end.
pub(super) fn run(
    own: &Path,
    cpus: &CpuSet,
    address: SocketAddr,
    path: &str,
    load: Load,
    mut watch: impl FnMut(),
) -> Result<Found> {
    let mut command = Command::new(own);
    command.args(["load", "--addr", &address.to_string(), "--path", path]);
    command.args(arguments(load));
    let mut child = spawn_on(
        cpus,
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )?;
    let limit = match load {
        Load::Full { time, .. } | Load::Paced { time, .. } => time + OVERRUN_LIMIT,
        Load::Once { .. } => OVERRUN_LIMIT,
    };
    let started = Instant::now();
    // Its output is one line, which fits in the pipe.
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("the load generator did not finish in time");
        }
        watch();
        thread::sleep(Duration::from_millis(5));
    };
    let mut said = String::new();
    if status.success() {
        child
            .stdout
            .take()
            .context("it has a pipe")?
            .read_to_string(&mut said)?;
        return Found::parse(&said).context("the load generator's results can't be parsed");
    }
    child
        .stderr
        .take()
        .context("it has a pipe")?
        .read_to_string(&mut said)?;
    bail!("{}", said.trim().trim_start_matches("bench load: "));
}

fn arguments(load: Load) -> Vec<String> {
    let seconds = |time: Duration| time.as_secs_f64().to_string();
    let connections = match load {
        Load::Once { connections } | Load::Full { connections, .. } => connections,
        Load::Paced { .. } => CONNECTIONS,
    };
    let mut words = vec!["--connections".to_owned(), connections.to_string()];
    let mut say = |name: &str, value: String| words.extend([name.to_owned(), value]);
    match load {
        Load::Full { time, threads, .. } => {
            say("--seconds", seconds(time));
            say("--warm-up", seconds(WARM_UP));
            say("--threads", threads.to_string());
        }
        Load::Paced { time, per_second } => {
            say("--seconds", seconds(time));
            say("--warm-up", seconds(WARM_UP));
            say("--rate", per_second.to_string());
        }
        Load::Once { .. } => words.push("--once".to_owned()),
    }
    words
}

impl Found {
    fn parse(said: &str) -> Option<Self> {
        let results: Value = serde_json::from_str(said).ok()?;
        let value = |name: &str| results[name].as_f64();
        Some(Self {
            answered: value("answered")?,
            all: value("all")?,
            failed: value("failed")?,
            seconds: value("seconds")?,
            p50_us: value("p50-us")?,
            p99_us: value("p99-us")?,
            late_p99_us: value("late-p99-us")?,
            cpu_seconds: value("cpu-us")? / 1e6,
        })
    }

    /// Returns the good responses per second.
    pub(super) fn rate(&self) -> f64 {
        self.answered / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_generators_results_are_parsed() {
        let said = r#"{"answered":300,"all":310,"failed":1,"seconds":2.0,"p50-us":10.5,
                       "p99-us":20.5,"max-us":30,"late-p99-us":5.5,"cpu-us":1500000}"#;
        let found = Found::parse(said).expect("all is there");
        assert_eq!((found.rate(), found.cpu_seconds), (150.0, 1.5));
        assert_eq!((found.p50_us, found.p99_us), (10.5, 20.5));
        assert_eq!(found.late_p99_us, 5.5);
        assert_eq!(Found::parse(r#"{"answered":300}"#), None);
    }

    #[test]
    fn each_load_has_its_words() {
        let time = Duration::from_secs(2);
        let words = |load| arguments(load).join(" ");
        assert_eq!(
            words(Load::Full {
                time,
                threads: 2,
                connections: 8,
            }),
            "--connections 8 --seconds 2 --warm-up 0.3 --threads 2"
        );
        let paced = Load::Paced {
            time,
            per_second: 9.5,
        };
        assert_eq!(
            words(paced),
            "--connections 64 --seconds 2 --warm-up 0.3 --rate 9.5"
        );
        assert_eq!(
            words(Load::Once { connections: 7 }),
            "--connections 7 --once"
        );
    }
}
