//! What a server says of itself, and how the answers of several processes become one.

use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::metrics::{self, Snapshot};

/// The state of a whole site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not all of the handlers that existed at the start are loaded yet, or no process serves.
    Starting,
    /// Every handler that existed at the start is loaded, or has failed to load.
    Ready,
    /// The server waits for the last requests in flight, and accepts no connections.
    Draining,
}

/// What one serving process says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inspection {
    /// The process.
    pub process: ProcessStatus,
    /// The handlers, as JSON objects.
    pub handlers: Vec<Value>,
    /// The problems in the handlers folder, as JSON objects.
    pub problems: Vec<Value>,
    /// The certificates, as JSON objects.
    #[serde(default)]
    pub certificates: Vec<Value>,
    /// The last failures of handlers, as JSON objects with `unix-seconds`, oldest first.
    pub failures: Vec<Value>,
    /// What it has counted.
    pub metrics: Snapshot,
}

/// The state of one serving process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ProcessStatus {
    /// The process ID.
    pub pid: u32,
    /// The time since it was started.
    pub uptime_seconds: f64,
    /// The open connections.
    pub connections: usize,
    /// The memory of all instances, in bytes.
    pub instance_memory_bytes: usize,
}

/// The source of what the admin listener tells. Its functions run on the listener's threads, and
/// may wait for other processes for some seconds.
pub(crate) trait Inspect: Send + Sync + 'static {
    /// Returns the state of the site. Doesn't wait.
    fn phase(&self) -> Phase;

    /// Returns the state of each serving process, ordered by number.
    fn inspect(&self) -> Vec<Inspection>;

    /// Returns what processes that have ended had counted. Called after [`Self::inspect`].
    fn counted_before(&self) -> Snapshot {
        Snapshot::default()
    }

    /// Returns what is known of upgrades.
    fn upgrade(&self) -> Value {
        Value::Null
    }
}

impl Phase {
    /// Returns the state as one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// Returns the values of `/metrics`: those of all processes, and what those that have ended had
/// counted, without handlers that are no longer served.
pub(super) fn metrics(source: &dyn Inspect) -> Snapshot {
    let is_ready = source.phase() == Phase::Ready;
    let processes = source.inspect();
    let mut all = Snapshot::default();
    for process in &processes {
        all.merge(&process.metrics);
    }
    let mut before = source.counted_before();
    before.keep_handlers_of([&all]);
    all.merge(&before);
    let number = |count: usize| metrics::Value::Gauge(count as f64);
    all.add("wasgi_ready", &[], number(usize::from(is_ready)));
    all.add("wasgi_processes", &[], number(processes.len()));
    let version = env!("CARGO_PKG_VERSION");
    all.add("wasgi_build_info", &[version], metrics::Value::Fact);
    all
}

/// Returns the body of `/status`, which the dashboard of `wasgi dev` shows as well. All processes
/// serve the same folders, so the handlers are those of the first process; what is counted is
/// added.
pub(crate) fn status(source: &dyn Inspect, started: Instant) -> Value {
    let phase = source.phase();
    let processes = source.inspect();
    let connections: usize = processes.iter().map(|one| one.process.connections).sum();
    let mut handlers = processes
        .first()
        .map_or(Vec::new(), |one| one.handlers.clone());
    for handler in &mut handlers {
        add_in_flight(handler, &processes);
    }
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "state": phase.as_str(),
        "upgrade": source.upgrade(),
        "uptime-seconds": started.elapsed().as_secs_f64(),
        "connections": connections,
        "processes": processes.iter().map(|one| json!(one.process)).collect::<Vec<_>>(),
        "handlers": handlers,
        "failures": last_failures(&processes),
        "problems": processes.first().map_or(&[][..], |one| &one.problems),
        "certificates": processes.first().map_or(&[][..], |one| &one.certificates),
    })
}

/// Returns the last failures of all processes, oldest first.
fn last_failures(processes: &[Inspection]) -> Vec<&Value> {
    let failures = processes.iter().flat_map(|one| &one.failures);
    let mut failures: Vec<&Value> = failures.collect();
    let time = |failure: &Value| failure["unix-seconds"].as_f64().unwrap_or_default();
    failures.sort_by(|one, other| time(one).total_cmp(&time(other)));
    failures
}

/// Sets the requests in flight of a handler to those of all processes together.
fn add_in_flight(handler: &mut Value, processes: &[Inspection]) {
    const KEY: &str = "in-flight";
    let Some(route) = handler.get("route").cloned() else {
        return;
    };
    let all = processes.iter().flat_map(|one| &one.handlers);
    let own = all.filter(|other| other.get("route") == Some(&route));
    let sum: u64 = own.filter_map(|one| one.get(KEY)?.as_u64()).sum();
    if let Some(count) = handler.get_mut(KEY) {
        *count = sum.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Inspect for Two {
        fn phase(&self) -> Phase {
            Phase::Ready
        }

        fn inspect(&self) -> Vec<Inspection> {
            let inspection = |pid, in_flight| Inspection {
                process: ProcessStatus {
                    pid,
                    uptime_seconds: 1.0,
                    connections: 3,
                    instance_memory_bytes: 0,
                },
                handlers: vec![
                    json!({"route": "/a", "in-flight": in_flight}),
                    json!({"route": "/loading"}),
                ],
                problems: Vec::new(),
                certificates: Vec::new(),
                failures: vec![json!({"unix-seconds": 10.0 - f64::from(pid), "handler": "hello"})],
                metrics: Snapshot::default(),
            };
            vec![inspection(7, 1), inspection(8, 4)]
        }
    }

    #[test]
    fn counts_of_processes_are_added() {
        let status = status(&Two, Instant::now());
        assert_eq!(status["connections"], 6);
        assert_eq!(status["processes"][1]["pid"], 8);
        assert_eq!(
            status["handlers"][0],
            json!({"route": "/a", "in-flight": 5})
        );
        assert_eq!(status["handlers"][1], json!({"route": "/loading"}));
        assert_eq!(status["state"], "ready");
        let times = status["failures"].as_array().expect("a list").iter();
        let times: Vec<_> = times.map(|one| one["unix-seconds"].as_f64()).collect();
        assert_eq!(times, [Some(2.0), Some(3.0)]);
    }
}
