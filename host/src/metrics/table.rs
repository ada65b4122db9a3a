//! The table of all metrics. A new metric is a row here, which a test compares with
//! `docs/operations.md` (`UPDATE_DOCS=1 cargo test -p wasgi --lib metrics` writes it).

/// A metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// The name, without its unit and `_total`.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The unit, which becomes part of the name.
    pub unit: Option<MetricUnit>,
    /// The labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricKind {
    /// A count since the start.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// The unit of a metric: a base unit, as the conventions of Prometheus ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricUnit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

use MetricKind::{Counter, Gauge, Histogram};
use MetricUnit::{Bytes, Seconds};

const fn metric(
    name: &'static str,
    kind: MetricKind,
    unit: Option<MetricUnit>,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        unit,
        labels,
        help,
    }
}

/// All metrics, in the order in which they are sent. If a metric has the label `handler`, it is the
/// first.
pub(crate) const METRICS: &[Metric] = &[
    metric(
        "wasgi_build_info",
        Gauge,
        None,
        &["version"],
        "1, with the version of the server",
    ),
    metric(
        "wasgi_ready",
        Gauge,
        None,
        &[],
        "1 if the server is ready, as /readyz says, otherwise 0",
    ),
    metric(
        "wasgi_processes",
        Gauge,
        None,
        &[],
        "Serving processes that these values are from",
    ),
    metric(
        "wasgi_http_requests",
        Counter,
        None,
        &["handler", "code"],
        "Requests that are over, by handler and class of status; without a handler for pages",
    ),
    metric(
        "wasgi_http_request_duration",
        Histogram,
        Some(Seconds),
        &["handler", "code"],
        "Time from the head of a request to the end of its response",
    ),
    metric(
        "wasgi_http_request_body",
        Counter,
        Some(Bytes),
        &["handler"],
        "Size of the bodies that a handler was given, without framing",
    ),
    metric(
        "wasgi_http_response",
        Counter,
        Some(Bytes),
        &["handler"],
        "Size of responses, with heads and framing",
    ),
    metric(
        "wasgi_http_requests_in_flight",
        Gauge,
        None,
        &["handler"],
        "Requests in a handler, with those that are queued",
    ),
    metric(
        "wasgi_http_requests_queued",
        Gauge,
        None,
        &["handler"],
        "Requests that have not started, because others of the handler compute",
    ),
    metric(
        "wasgi_handler_failures",
        Counter,
        None,
        &["handler", "cause"],
        "Requests to which a handler gave no complete response, by cause",
    ),
    metric(
        "wasgi_handler_cpu",
        Counter,
        Some(Seconds),
        &["handler"],
        "Time that a handler has used threads; less than a millisecond at a time is estimated from one in 16",
    ),
    metric(
        "wasgi_handler_info",
        Gauge,
        None,
        &["handler", "version", "kind"],
        "1 for the version of a handler that is served",
    ),
    metric(
        "wasgi_handler_memory",
        Gauge,
        Some(Bytes),
        &["handler", "version"],
        "Memory of the instances of the version that is served, as limits.memory counts it",
    ),
    metric(
        "wasgi_instance_memory",
        Gauge,
        Some(Bytes),
        &[],
        "Memory of all instances, as limits.memory counts it",
    ),
    metric(
        "wasgi_handler_loads",
        Counter,
        None,
        &["result"],
        "Loads of a version of a handler, with those from the code cache",
    ),
    metric(
        "wasgi_handler_load_failures",
        Counter,
        None,
        &["step"],
        "Loads that failed, by the step that failed: read, import, compile or link",
    ),
    metric(
        "wasgi_handler_load",
        Counter,
        Some(Seconds),
        &["step"],
        "Time that loads took, by step: read (with look-ups), import (of a script), compile or link",
    ),
    metric(
        "wasgi_handler_swaps",
        Counter,
        None,
        &[],
        "Versions of handlers that replaced another version",
    ),
    metric(
        "wasgi_code_cache_lookups",
        Counter,
        None,
        &["result"],
        "Look-ups of compiled code on disk",
    ),
    metric(
        "process_cpu",
        Counter,
        Some(Seconds),
        &[],
        "Processor time of the serving processes",
    ),
    metric(
        "process_resident_memory",
        Gauge,
        Some(Bytes),
        &[],
        "Resident memory of the serving processes; what they share counts for each",
    ),
    metric(
        "process_open_fds",
        Gauge,
        None,
        &[],
        "Open file descriptors of the serving processes",
    ),
    metric(
        "process_max_fds",
        Gauge,
        None,
        &[],
        "Limits of file descriptors of the serving processes, added",
    ),
    metric("wasgi_connections", Gauge, None, &[], "Open connections"),
    metric(
        "wasgi_connections_accepted",
        Counter,
        None,
        &[],
        "Connections that were accepted",
    ),
    metric(
        "wasgi_connections_refused",
        Counter,
        None,
        &[],
        "Connections that exceeded limits.connections or limits.connections-per-address",
    ),
    metric(
        "wasgi_received",
        Counter,
        Some(Bytes),
        &[],
        "Bytes received from connections, with heads, framing and TLS",
    ),
    metric(
        "wasgi_tls_handshakes",
        Counter,
        None,
        &["result"],
        "TLS handshakes that began, by whether they were completed",
    ),
    metric(
        "wasgi_tls_certificate_expiry_timestamp",
        Gauge,
        Some(Seconds),
        &["host"],
        "When a certificate expires, in seconds since 1970; without a host for that of `[tls]`",
    ),
    metric(
        "wasgi_acme_attempts",
        Counter,
        None,
        &["result"],
        "Attempts to obtain or renew a certificate",
    ),
    metric(
        "wasgi_log_lines_dropped",
        Counter,
        None,
        &[],
        "Lines that were dropped from a log",
    ),
    metric(
        "wasgi_state_operations",
        Counter,
        None,
        &["result"],
        "Operations on key-value buckets",
    ),
    metric(
        "wasgi_outbound_requests",
        Counter,
        None,
        &["result"],
        "HTTP requests of handlers to other hosts, with or without a response",
    ),
];

impl Metric {
    /// Returns the name that queries use. A histogram's series have `_bucket`, `_sum` and `_count`
    /// after it.
    #[cfg(test)]
    pub(crate) fn full_name(&self) -> String {
        let unit = match self.unit {
            Some(Bytes) => "_bytes",
            Some(Seconds) => "_seconds",
            None => "",
        };
        let total = match self.kind {
            Counter => "_total",
            Gauge | Histogram => "",
        };
        format!("{}{unit}{total}", self.name)
    }

    /// Returns the type as one word.
    #[cfg(test)]
    fn kind_name(&self) -> &'static str {
        match self.kind {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dashboard::names_in;
    use super::*;

    /// The document with the table.
    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");

    const HEADING: &str = "| metric | type | labels | meaning |\n|---|---|---|---|\n";

    fn rows() -> String {
        let row = |metric: &Metric| {
            let labels = metric.labels.iter().map(|label| format!("`{label}`"));
            let labels = labels.collect::<Vec<_>>().join(", ");
            let labels = if labels.is_empty() {
                "–".to_owned()
            } else {
                labels
            };
            format!(
                "| `{}` | {} | {labels} | {} |\n",
                metric.full_name(),
                metric.kind_name(),
                metric.help
            )
        };
        METRICS.iter().map(row).collect()
    }

    #[test]
    fn the_document_has_the_table_of_metrics() {
        let text = std::fs::read_to_string(DOCUMENT).expect("it is there");
        let (before, rest) = text.split_once(HEADING).expect("it has a table");
        let end = rest.find("\n\n").map_or(rest.len(), |end| end + 1);
        let new = format!("{before}{HEADING}{}{}", rows(), &rest[end..]);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(DOCUMENT, &new).expect("written");
        } else {
            assert!(
                text == new,
                "run UPDATE_DOCS=1 cargo test -p wasgi --lib metrics"
            );
        }
    }

    #[test]
    fn names_follow_the_conventions() {
        for metric in METRICS {
            assert_eq!(names_in(metric.name), [metric.name]);
            assert!(!metric.name.ends_with("_total"), "{}", metric.name);
            assert!(!metric.help.ends_with('.'), "{}", metric.name);
            let at = metric.labels.iter().position(|label| *label == "handler");
            assert!(at.is_none_or(|at| at == 0), "{}", metric.name);
        }
    }
}
