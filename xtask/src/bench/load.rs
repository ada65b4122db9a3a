//! One run of the load generator: what it is asked for, and what it found.

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::CpuSet;

use super::server::spawn_on;

/// Connections of a contest. As many as `wrk` is usually given.
pub(super) const CONNECTIONS: u32 = 64;

/// Connections for answers above [`LARGE_BYTES`]: with many of them, most of what a round sends
/// would belong to answers that it does not see the end of.
pub(super) const CONNECTIONS_FOR_LARGE: u32 = 4;

/// An answer that takes a millisecond and more.
const LARGE_BYTES: usize = 1 << 20;

/// Time before what is counted: until the buffers of both sides have found their size.
const WARM_UP: Duration = Duration::from_millis(300);

/// How much longer than its plan a run may take before it is ended.
const OVERRUN_LIMIT: Duration = Duration::from_secs(40);

/// What to send, and when.
#[derive(Clone, Copy, Debug)]
pub(super) enum Load {
    /// As much as can be, for so long.
    Full {
        time: Duration,
        threads: usize,
        connections: u32,
    },
    /// So many a second, for so long.
    Paced { time: Duration, per_second: f64 },
    /// One request on each of so many connections.
    Once { connections: u32 },
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Good answers in the time that counts.
    pub(super) answered: f64,
    /// All good answers.
    pub(super) all: f64,
    pub(super) failed: f64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// How late the load generator itself came to one request of a hundred.
    pub(super) late_p99_us: f64,
    /// Processor time of the load generator itself.
    pub(super) cpu_seconds: f64,
}

/// How many connections to ask for answers of this size on.
pub(super) fn connections(answer_bytes: usize) -> u32 {
    if answer_bytes < LARGE_BYTES {
        CONNECTIONS
    } else {
        CONNECTIONS_FOR_LARGE
    }
}

/// Runs the load generator; `watch` is called every few milliseconds meanwhile.
///
/// # Errors
///
/// When it fails, or does not end.
pub(super) fn run(
    tools: &Path,
    cpus: &CpuSet,
    address: SocketAddr,
    path: &str,
    load: Load,
    mut watch: impl FnMut(),
) -> Result<Found> {
    let mut command = Command::new(tools);
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
    // What it says is a few lines, which the pipe has room for.
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("the load generator did not end");
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
        return Found::parse(&said).context("the load generator said something else");
    }
    child
        .stderr
        .take()
        .context("it has a pipe")?
        .read_to_string(&mut said)?;
    bail!("{}", said.trim().trim_start_matches("bench-tools load: "));
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
        let value = |name: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once(' '));
            let (_, value) = lines.find(|(key, _)| *key == name)?;
            value.parse::<f64>().ok()
        };
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

    /// Good answers in a second.
    pub(super) fn rate(&self) -> f64 {
        self.answered / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_generator_says_is_understood() {
        let said = "answered 300\nall 310\nfailed 1\nseconds 2.0\np50-us 10.5\np99-us 20.5\n\
                    max-us 30\nlate-p99-us 5.5\ncpu-us 1500000\n";
        let found = Found::parse(said).expect("all is there");
        assert_eq!((found.rate(), found.cpu_seconds), (150.0, 1.5));
        assert_eq!((found.p50_us, found.p99_us), (10.5, 20.5));
        assert_eq!(found.late_p99_us, 5.5);
        assert_eq!(Found::parse("answered 300\n"), None);
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
