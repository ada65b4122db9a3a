//! The difference of two samples.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;

use super::sample::{Counts, Sample};
use crate::host_name;

/// The name of the row of requests that no handler answers: pages, and rejected requests.
const PAGES: &str = "(pages)";

/// What a server does, as the difference of two samples. Rates are per second.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Report {
    /// The time between the samples, in seconds.
    pub(super) interval_seconds: f64,
    pub(super) version: String,
    pub(super) state: String,
    pub(super) uptime_seconds: f64,
    pub(super) processes: usize,
    pub(super) connections: u64,
    pub(super) requests_per_second: f64,
    /// Responses with a status of the class 5xx.
    pub(super) errors_per_second: f64,
    pub(super) received_bytes_per_second: f64,
    pub(super) sent_bytes_per_second: f64,
    /// Of one processor.
    pub(super) cpu_percent: f64,
    pub(super) resident_bytes: f64,
    pub(super) instance_memory_bytes: f64,
    /// Ordered by requests per second.
    pub(super) routes: Vec<Row>,
    /// The last errors, newest first: failed requests, and then files that are not served.
    pub(super) errors: Vec<LastError>,
}

/// A route with its handler, or all requests without a handler.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Row {
    pub(super) route: String,
    /// The name of the handler; empty for requests without one.
    pub(super) handler: String,
    pub(super) kind: String,
    pub(super) version: String,
    /// Since the start.
    pub(super) requests: f64,
    pub(super) requests_per_second: f64,
    pub(super) errors_per_second: f64,
    /// None if there was no request between the samples.
    pub(super) p50_seconds: Option<f64>,
    pub(super) p99_seconds: Option<f64>,
    pub(super) in_flight: f64,
    pub(super) queued: f64,
    pub(super) cpu_percent: f64,
    pub(super) memory_bytes: f64,
}

/// An error.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct LastError {
    /// How long ago a request failed, in seconds. None for a file.
    pub(super) age_seconds: Option<f64>,
    /// The handler, or the file.
    pub(super) subject: String,
    pub(super) text: String,
}

impl Report {
    /// Returns the difference of two samples of a server, which may have been restarted between
    /// them.
    pub(crate) fn between(before: &Sample, now: &Sample) -> Self {
        let seconds = now
            .taken
            .saturating_duration_since(before.taken)
            .as_secs_f64();
        let rate = |before: f64, now: f64| rate(before, now, seconds);
        let none = Counts::default();
        let counts_before = |name: &str| before.handlers.get(name).unwrap_or(&none);
        let row = |name: &str, counts: &Counts| {
            let mut row = Row::new(counts_before(name), counts, seconds);
            row.handler = name.to_owned();
            row
        };
        let status = &now.status;
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let mut routes = vec![Row {
            route: PAGES.to_owned(),
            ..row("", now.handlers.get("").unwrap_or(&none))
        }];
        for (name, counts) in &now.handlers {
            if let (Some(host), "") = host_name::split(name) {
                routes.push(Row {
                    route: format!("{PAGES} of {host}"),
                    ..row(name, counts)
                });
            }
        }
        for handler in status["handlers"].as_array().into_iter().flatten() {
            let name = text(handler, "name");
            let kind = match handler["kind"].as_str() {
                Some(kind) => kind.to_owned(),
                None => text(handler, "state"),
            };
            routes.push(Row {
                route: text(handler, "route"),
                kind,
                version: text(handler, "version"),
                ..row(&name, now.handlers.get(&name).unwrap_or(&none))
            });
        }
        let order = |one: &Row, other: &Row| {
            let by_rate = other
                .requests_per_second
                .total_cmp(&one.requests_per_second);
            let by_pages = (one.handler.is_empty()).cmp(&other.handler.is_empty());
            by_rate
                .then(by_pages)
                .then_with(|| one.route.cmp(&other.route))
        };
        routes.sort_by(order);
        let sum = |of: fn(&Row) -> f64| routes.iter().map(of).sum();
        let sent = |sample: &Sample| -> f64 {
            let counts = sample.handlers.values();
            counts.map(|counts| counts.sent_bytes).sum()
        };
        let (totals_before, totals) = (&before.totals, &now.totals);
        Self {
            interval_seconds: seconds,
            version: text(status, "version"),
            state: text(status, "state"),
            uptime_seconds: status["uptime-seconds"].as_f64().unwrap_or_default(),
            processes: status["processes"].as_array().map_or(0, Vec::len),
            connections: status["connections"].as_u64().unwrap_or_default(),
            requests_per_second: sum(|row| row.requests_per_second),
            errors_per_second: sum(|row| row.errors_per_second),
            received_bytes_per_second: rate(totals_before.received_bytes, totals.received_bytes),
            sent_bytes_per_second: rate(sent(before), sent(now)),
            cpu_percent: 100.0 * rate(totals_before.cpu_seconds, totals.cpu_seconds),
            resident_bytes: totals.resident_bytes,
            instance_memory_bytes: totals.instance_bytes,
            errors: last_errors(status, SystemTime::now()),
            routes,
        }
    }
}

impl Row {
    fn new(before: &Counts, now: &Counts, seconds: f64) -> Self {
        let rate = |before: f64, now: f64| rate(before, now, seconds);
        let took = |share: f64| quantile(&before.buckets, &now.buckets, share);
        Self {
            requests: now.requests,
            requests_per_second: rate(before.requests, now.requests),
            errors_per_second: rate(before.errors, now.errors),
            p50_seconds: took(0.5),
            p99_seconds: took(0.99),
            in_flight: now.in_flight,
            queued: now.queued,
            cpu_percent: 100.0 * rate(before.cpu_seconds, now.cpu_seconds),
            memory_bytes: now.memory_bytes,
            ..Self::default()
        }
    }
}

/// Returns by how much a count has grown. A count that has become smaller began at zero.
fn increase(before: f64, now: f64) -> f64 {
    match now.total_cmp(&before) {
        Ordering::Less => now,
        Ordering::Equal | Ordering::Greater => now - before,
    }
}

fn rate(before: f64, now: f64, seconds: f64) -> f64 {
    match seconds > 0.0 {
        true => increase(before, now) / seconds,
        false => 0.0,
    }
}

/// Returns the time, in seconds, that a share of the requests between two samples did not exceed:
/// interpolated within a bucket, as Prometheus does.
fn quantile(before: &BTreeMap<u64, f64>, now: &BTreeMap<u64, f64>, share: f64) -> Option<f64> {
    let in_bucket = |(bound, count): (&u64, &f64)| {
        let before = before.get(bound).copied().unwrap_or_default();
        (*bound, increase(before, *count))
    };
    let buckets: Vec<(u64, f64)> = now.iter().map(in_bucket).collect();
    let &(_, total) = buckets.last()?;
    if total <= 0.0 {
        return None;
    }
    let rank = share * total;
    let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
    let (mut lower, mut below) = (0, 0.0);
    for (bound, count) in buckets {
        if count >= rank {
            if bound == u64::MAX {
                break;
            }
            let share = (rank - below) / (count - below).max(f64::MIN_POSITIVE);
            return Some(seconds(lower) + (seconds(bound) - seconds(lower)) * share);
        }
        (lower, below) = (bound, count);
    }
    Some(seconds(lower))
}

fn last_errors(status: &Value, now: SystemTime) -> Vec<LastError> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0.0, |now| now.as_secs_f64());
    let list = |key: &str| status[key].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let first_line = |value: &Value| text(value).lines().next().unwrap_or_default().to_owned();
    let failures = list("failures").rev().map(|failure| LastError {
        age_seconds: failure["unix-seconds"]
            .as_f64()
            .map(|then| (now - then).max(0.0)),
        subject: text(&failure["handler"]),
        text: first_line(&failure["text"]),
    });
    let problems = list("problems").map(|problem| LastError {
        age_seconds: None,
        subject: text(&problem["file"]),
        text: first_line(&problem["text"]),
    });
    failures.chain(problems).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn sample(requests: u64, errors: u64, taken: Instant) -> Sample {
        let all = requests + errors;
        let text = format!(
            "wasgi_http_requests_total{{handler=\"hello\",code=\"2xx\"}} {requests}\n\
             wasgi_http_requests_total{{handler=\"hello\",code=\"5xx\"}} {errors}\n\
             wasgi_http_request_duration_seconds_bucket{{handler=\"hello\",code=\"2xx\",le=\"0.001\"}} 0\n\
             wasgi_http_request_duration_seconds_bucket{{handler=\"hello\",code=\"2xx\",le=\"0.01\"}} {all}\n\
             wasgi_http_request_duration_seconds_bucket{{handler=\"hello\",code=\"2xx\",le=\"+Inf\"}} {all}\n\
             wasgi_handler_cpu_seconds_total{{handler=\"hello\"}} {}\n\
             wasgi_handler_memory_bytes{{handler=\"hello\",version=\"abc\"}} 65536\n\
             process_resident_memory_bytes 53000000\n",
            all as f64 / 1000.0
        );
        let status = json!({
            "version": "0.1.0", "state": "ready", "uptime-seconds": 3723.5, "connections": 3,
            "processes": [{"pid": 1}, {"pid": 2}],
            "handlers": [
                {"name": "hello", "route": "/hello", "kind": "wasgi", "version": "0123456789ab"},
                {"name": "slow", "route": "/slow", "state": "loading"},
            ],
            "problems": [{"file": "handlers/broken.wat", "kind": "x", "text": "not\u{1b}[31m loaded\nmore"}],
            "failures": [
                {"unix-seconds": 10.0, "handler": "hello", "cause": "trap", "text": "older"},
                {"unix-seconds": 20.0, "handler": "hello", "cause": "trap", "text": "newer"},
            ],
        });
        Sample::new(&text, status, taken)
    }

    pub(in crate::top) fn report() -> Report {
        let now = Instant::now();
        let before = sample(10, 0, now);
        Report::between(&before, &sample(30, 4, now + Duration::from_secs(2)))
    }

    #[test]
    fn rates_are_differences() {
        let report = report();
        let [hello, slow, pages] = &report.routes[..] else {
            panic!("{report:?}");
        };
        assert_eq!((&*hello.route, &*hello.kind), ("/hello", "wasgi"));
        assert_eq!((&*slow.route, &*slow.kind), ("/slow", "loading"));
        assert_eq!(pages.route, PAGES);
        assert_eq!(hello.requests_per_second, 12.0);
        assert_eq!(hello.errors_per_second, 2.0);
        assert!((hello.cpu_percent - 1.2).abs() < 1e-9);
        assert_eq!(report.requests_per_second, 12.0);
        // Half way from one bound to the other.
        let p50 = hello.p50_seconds.expect("there were requests");
        assert!((p50 - 0.0055).abs() < 1e-9, "{p50}");
        assert_eq!(slow.p50_seconds, None);
        let texts: Vec<&str> = report.errors.iter().map(|one| &*one.text).collect();
        assert_eq!(texts, ["newer", "older", "not\u{1b}[31m loaded"]);
    }

    #[test]
    fn a_server_that_was_restarted_has_counted_from_zero() {
        let now = Instant::now();
        let before = sample(1000, 0, now);
        let report = Report::between(&before, &sample(4, 0, now + Duration::from_secs(2)));
        assert_eq!(report.requests_per_second, 2.0);
        let at_once = Report::between(&before, &sample(2000, 0, now));
        assert_eq!(at_once.requests_per_second, 0.0);
    }

    #[test]
    fn a_request_beyond_the_last_bound_took_at_least_that() {
        let now = BTreeMap::from([(1000, 0.0), (u64::MAX, 5.0)]);
        assert_eq!(quantile(&BTreeMap::new(), &now, 0.99), Some(0.001));
        assert_eq!(quantile(&now, &now, 0.99), None);
        assert_eq!(quantile(&BTreeMap::new(), &BTreeMap::new(), 0.99), None);
    }
}
