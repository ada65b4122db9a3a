//! What is counted for one handler, or for all requests without a handler.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shard::Sharded;
use super::snapshot::{Snapshot, Value};
use crate::host_name;

/// The upper bounds of the buckets of durations, in microseconds: from a fresh instance to a
/// handler's wall time.
pub(super) const BOUNDS_MICROS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000, 30_000_000,
];

/// The classes of statuses. The first is for requests whose client left before there was a status.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a handler gave no complete response: the values of the label `cause`.
pub(crate) const CAUSES: [&str; 17] = [
    "exception",
    "panic",
    "trap",
    "memory",
    "body_memory",
    "cpu_time",
    "wall_time",
    "client_gone",
    "busy",
    "no_instance",
    "no_memory",
    "no_descriptor",
    "total_memory",
    "instantiation",
    "not_started",
    "exit",
    "bad_response",
];

/// The counts of one handler, or of all requests without one. A thread's part is created when the
/// thread first counts something.
#[derive(Debug, Default)]
pub(crate) struct HandlerCounts(Sharded<Part>);

/// The counts of one thread, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part {
    classes: [ClassPart; CLASSES.len()],
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    computed_nanos: AtomicU64,
    failures: [AtomicU64; CAUSES.len()],
}

#[derive(Debug, Default)]
struct ClassPart {
    /// The requests by duration; the last has no upper bound.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl HandlerCounts {
    /// Counts a request that is over. `status` is 0 if there was none; `received_bytes` are those
    /// of its body.
    pub(crate) fn request(
        &self,
        status: u16,
        took: Duration,
        received_bytes: u64,
        sent_bytes: u64,
    ) {
        let Some((part, writer)) = self.0.own() else {
            return;
        };
        let class = usize::from(status / 100);
        let Some(class) = part.classes.get(class).or(part.classes.first()) else {
            return;
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = class.buckets.get(bucket) {
            writer.add(bucket, 1);
        }
        writer.add(&class.sum_micros, micros);
        writer.add(&part.received_bytes, received_bytes);
        writer.add(&part.sent_bytes, sent_bytes);
    }

    /// Counts how long a call has computed.
    pub(crate) fn computed(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let Some((part, writer)) = self.0.own() else {
            return;
        };
        writer.add(&part.computed_nanos, nanos);
    }

    /// Counts a failure, whose cause is one of [`CAUSES`].
    pub(crate) fn failed(&self, cause: &str) {
        let index = CAUSES.iter().position(|known| *known == cause);
        let Some((part, writer)) = self.0.own() else {
            return;
        };
        if let Some(count) = index.and_then(|index| part.failures.get(index)) {
            writer.add(count, 1);
        }
    }

    /// Adds the counts to a snapshot, under the full name of a handler; empty for requests without
    /// one, or `//HOST/` for those to a virtual host.
    pub(crate) fn collect(&self, handler: &str, into: &mut Snapshot) {
        for part in self.0.all() {
            for (class, counts) in CLASSES.iter().zip(&part.classes) {
                let buckets: Vec<u64> = counts.buckets.iter().map(load).collect();
                let count: u64 = buckets.iter().sum();
                if count == 0 {
                    continue;
                }
                let labels = [handler, class];
                into.add("wasgi_http_requests", &labels, Value::Counter(count as f64));
                let sum = load(&counts.sum_micros) as f64 / 1e6;
                let durations = Value::Histogram { sum, buckets };
                into.add("wasgi_http_request_duration", &labels, durations);
            }
            let sent = Value::Counter(load(&part.sent_bytes) as f64);
            into.add("wasgi_http_response", &[handler], sent);
            if !host_name::split(handler).1.is_empty() {
                let received = Value::Counter(load(&part.received_bytes) as f64);
                into.add("wasgi_http_request_body", &[handler], received);
                let seconds = Value::Counter(load(&part.computed_nanos) as f64 / 1e9);
                into.add("wasgi_handler_cpu", &[handler], seconds);
            }
            for (cause, count) in CAUSES.iter().zip(&part.failures) {
                let count = load(count);
                if count > 0 {
                    let value = Value::Counter(count as f64);
                    into.add("wasgi_handler_failures", &[handler, cause], value);
                }
            }
        }
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_in_the_bucket_of_its_duration_and_the_class_of_its_status() {
        let counts = HandlerCounts::default();
        counts.request(200, Duration::from_micros(100), 3, 7);
        counts.request(299, Duration::from_micros(101), 3, 7);
        counts.request(503, Duration::from_secs(3600), 0, 7);
        counts.request(0, Duration::ZERO, 0, 0);
        counts.request(999, Duration::ZERO, 0, 0);
        counts.failed("trap");
        counts.failed("what nobody knows");
        let mut snapshot = Snapshot::default();
        counts.collect("a", &mut snapshot);
        let get = |name, labels: &[&str]| snapshot.get(name, labels).cloned();
        for (class, count) in [("2xx", 2.0), ("5xx", 1.0), ("none", 2.0)] {
            let found = get("wasgi_http_requests", &["a", class]);
            assert_eq!(found, Some(Value::Counter(count)), "{class}");
        }
        let Some(Value::Histogram { buckets, .. }) =
            get("wasgi_http_request_duration", &["a", "2xx"])
        else {
            panic!("{snapshot:?}");
        };
        assert_eq!(buckets[..3], [1, 1, 0]);
        let sent = get("wasgi_http_response", &["a"]);
        assert_eq!(sent, Some(Value::Counter(21.0)));
        let received = get("wasgi_http_request_body", &["a"]);
        assert_eq!(received, Some(Value::Counter(6.0)));
        let traps = get("wasgi_handler_failures", &["a", "trap"]);
        assert_eq!(traps, Some(Value::Counter(1.0)));
    }
}
