//! What is counted for the whole process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shard::Sharded;
use super::snapshot::{Snapshot, Value};

/// A count since the start of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Connections that were accepted.
    Connections,
    /// Connections that were closed or answered with 503 because of a limit.
    RefusedConnections,
    /// Bytes that were received from connections.
    ReceivedBytes,
    /// TLS handshakes that were completed.
    Handshakes,
    /// TLS handshakes that began, and were not completed.
    FailedHandshakes,
    /// Certificates that were obtained.
    ObtainedCertificates,
    /// Attempts to obtain a certificate that failed.
    FailedCertificates,
    /// Versions of handlers that were loaded.
    Loads,
    /// Attempts to load a version of a handler that failed.
    FailedLoads,
    /// Versions that replaced another version.
    Swaps,
    /// Code that was found in the code cache.
    CacheHits,
    /// Code that was not found in the code cache.
    CacheMisses,
    /// Lines that a log has dropped.
    DroppedLogLines,
    /// State operations that succeeded.
    StateOperations,
    /// State operations that failed.
    FailedStateOperations,
    /// Outbound HTTP requests that got a response.
    OutboundRequests,
    /// Outbound HTTP requests that got none.
    FailedOutboundRequests,
}

use Counter as C;

/// The number of counters.
const COUNTERS: usize = C::FailedOutboundRequests as usize + 1;

/// A step of loading a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadStep {
    /// Reading the file or folder, and looking for compiled code in the code cache.
    Read,
    /// Running a script's imports.
    Import,
    /// Compiling.
    Compile,
    /// Checking the compiled code and preparing it in the pools.
    Link,
}

impl LoadStep {
    const ALL: [Self; 4] = [Self::Read, Self::Import, Self::Compile, Self::Link];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Import => "import",
            Self::Compile => "compile",
            Self::Link => "link",
        }
    }

    /// Counts the time that the step took in one load.
    pub(crate) fn took(self, time: Duration) {
        let Some((part, writer)) = PARTS.own() else {
            return;
        };
        if let Some(step) = part.steps.get(self as usize) {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            writer.add(&step.micros, micros);
        }
    }

    /// Counts a load that failed in this step.
    pub(crate) fn failed(self) {
        C::FailedLoads.increment();
        let Some((part, writer)) = PARTS.own() else {
            return;
        };
        if let Some(step) = part.steps.get(self as usize) {
            writer.add(&step.failures, 1);
        }
    }
}

static PARTS: Sharded<Part> = Sharded::new();

/// The counts of one thread, in cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part {
    counts: [AtomicU64; COUNTERS],
    steps: [StepPart; LoadStep::ALL.len()],
}

#[derive(Debug, Default)]
struct StepPart {
    micros: AtomicU64,
    failures: AtomicU64,
}

impl Counter {
    /// Counts one more.
    pub(crate) fn increment(self) {
        self.add(1);
    }

    /// Counts `count` more.
    pub(crate) fn add(self, count: u64) {
        let Some((part, writer)) = PARTS.own() else {
            return;
        };
        if let Some(own) = part.counts.get(self as usize) {
            writer.add(own, count);
        }
    }

    fn sum(self) -> u64 {
        sum(|part| part.counts.get(self as usize))
    }
}

fn sum<'part>(count: impl Fn(&'part Part) -> Option<&'part AtomicU64>) -> u64 {
    let counts = PARTS.all().filter_map(count);
    counts.map(|count| count.load(Ordering::Relaxed)).sum()
}

/// Adds all of them to a snapshot.
pub(crate) fn collect(into: &mut Snapshot) {
    for (name, labels, counter) in [
        ("wasgi_connections_accepted", &[][..], C::Connections),
        ("wasgi_connections_refused", &[], C::RefusedConnections),
        ("wasgi_received", &[], C::ReceivedBytes),
        ("wasgi_tls_handshakes", &["ok"], C::Handshakes),
        ("wasgi_tls_handshakes", &["failed"], C::FailedHandshakes),
        ("wasgi_acme_attempts", &["ok"], C::ObtainedCertificates),
        ("wasgi_acme_attempts", &["failed"], C::FailedCertificates),
        ("wasgi_handler_loads", &["ok"], C::Loads),
        ("wasgi_handler_loads", &["failed"], C::FailedLoads),
        ("wasgi_handler_swaps", &[], C::Swaps),
        ("wasgi_code_cache_lookups", &["hit"], C::CacheHits),
        ("wasgi_code_cache_lookups", &["miss"], C::CacheMisses),
        ("wasgi_log_lines_dropped", &[], C::DroppedLogLines),
        ("wasgi_state_operations", &["ok"], C::StateOperations),
        (
            "wasgi_state_operations",
            &["failed"],
            C::FailedStateOperations,
        ),
        ("wasgi_outbound_requests", &["ok"], C::OutboundRequests),
        (
            "wasgi_outbound_requests",
            &["failed"],
            C::FailedOutboundRequests,
        ),
    ] {
        into.add(name, labels, Value::Counter(counter.sum() as f64));
    }
    for step in LoadStep::ALL {
        let labels = [step.name()];
        let micros = sum(|part| part.steps.get(step as usize).map(|step| &step.micros));
        let failures = sum(|part| part.steps.get(step as usize).map(|step| &step.failures));
        let seconds = Value::Counter(micros as f64 / 1e6);
        into.add("wasgi_handler_load", &labels, seconds);
        let failures = Value::Counter(failures as f64);
        into.add("wasgi_handler_load_failures", &labels, failures);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::table::METRICS;

    #[test]
    fn all_that_is_counted_has_a_metric_with_as_many_labels() {
        let mut snapshot = Snapshot::default();
        collect(&mut snapshot);
        let mut found = 0;
        for metric in METRICS {
            for (labels, _) in snapshot.of_metric(metric.name) {
                assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
                found += 1;
            }
        }
        assert_eq!(found, Vec::from(snapshot).len());
    }

    #[test]
    fn a_failed_load_is_counted_with_its_step() {
        let value = |name, label: &str| {
            let mut snapshot = Snapshot::default();
            collect(&mut snapshot);
            match snapshot.get(name, &[label]) {
                Some(Value::Counter(count)) => *count,
                other => panic!("{name}: {other:?}"),
            }
        };
        // Other tests load handlers meanwhile.
        let failures = value("wasgi_handler_load_failures", "link");
        let loads = value("wasgi_handler_loads", "failed");
        LoadStep::Link.failed();
        assert!(value("wasgi_handler_load_failures", "link") >= failures + 1.0);
        assert!(value("wasgi_handler_loads", "failed") >= loads + 1.0);
        let seconds = value("wasgi_handler_load", "import");
        LoadStep::Import.took(Duration::from_secs(3));
        assert!(value("wasgi_handler_load", "import") >= seconds + 3.0);
    }
}
