//! The formats of Prometheus.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::handler::BOUNDS_MICROS;
use super::snapshot::{Snapshot, Value};
use super::table::{METRICS, MetricKind, MetricUnit};
use crate::host_name;

/// The label with the name of a handler.
const HANDLER: &str = "handler";

/// The label with the name of a virtual host, as it is in the configuration. Values of the site
/// itself don't have it.
const HOST: &str = "host";

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format of Prometheus, version 0.0.4.
    Text,
}

impl Format {
    /// Returns the format for the field `Accept` of a request: OpenMetrics if the client names it.
    /// Prometheus names all formats that it knows, OpenMetrics before text.
    pub(crate) fn for_accept(accept: &str) -> Self {
        let mut media_types = accept.split(',').map(|one| one.split(';').next());
        let is_open_metrics = |one: Option<&str>| {
            one.is_some_and(|one| {
                one.trim()
                    .eq_ignore_ascii_case("application/openmetrics-text")
            })
        };
        match media_types.any(is_open_metrics) {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    /// Returns the value of `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Encodes all values.
///
/// # Errors
///
/// Fails only if the encoder does.
pub(crate) fn encode(snapshot: Snapshot, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(All(snapshot)));
    let mut out = String::new();
    match format {
        Format::OpenMetrics => text::encode(&mut out, &registry)?,
        Format::Text => prometheus_text::encode(&mut out, &registry)?,
    }
    Ok(out)
}

#[derive(Debug)]
struct All(Snapshot);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in METRICS {
            let mut values = self.0.of_metric(metric.name).peekable();
            if values.peek().is_none() {
                continue;
            }
            let unit = metric.unit.map(|unit| match unit {
                MetricUnit::Bytes => Unit::Bytes,
                MetricUnit::Seconds => Unit::Seconds,
            });
            let kind = match metric.kind {
                MetricKind::Counter => MetricType::Counter,
                MetricKind::Gauge => MetricType::Gauge,
                MetricKind::Histogram => MetricType::Histogram,
            };
            let (name, help) = (metric.name, metric.help);
            let mut encoder = encoder.encode_descriptor(name, help, unit.as_ref(), kind)?;
            for (labels, value) in values {
                let labels = named(metric.labels, labels);
                encode_value(encoder.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

/// Returns labels with their names. The full name of a handler of a virtual host becomes two.
fn named<'l>(names: &[&'l str], values: &'l [String]) -> Vec<(&'l str, &'l str)> {
    let mut labels = Vec::with_capacity(names.len() + 1);
    for (name, value) in names.iter().zip(values) {
        if *name != HANDLER {
            let is_of_site = *name == HOST && value.is_empty();
            labels.extend((!is_of_site).then_some((*name, value.as_str())));
            continue;
        }
        let (host, handler) = host_name::split(value);
        labels.push((HANDLER, handler));
        labels.extend(host.map(|host| (HOST, host)));
    }
    labels
}

fn encode_value(mut encoder: MetricEncoder<'_>, value: &Value) -> Result<(), fmt::Error> {
    match value {
        Value::Counter(count) => encoder.encode_counter::<NoLabelSet, f64, f64>(count, None),
        Value::Gauge(number) | Value::Time(number) => encoder.encode_gauge(number),
        Value::Fact => encoder.encode_gauge(&1.0),
        Value::Histogram { sum, buckets } => {
            let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(buckets.iter().copied()).collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(*sum, count, &buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::HandlerCounts;

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::default();
        let counts = HandlerCounts::default();
        counts.request(200, Duration::from_millis(3), 0, 70);
        counts.collect("a\"b\\\n{}", &mut snapshot);
        crate::metrics::collect_process(&mut snapshot);
        snapshot
    }

    #[test]
    fn both_formats_have_the_names_of_the_table() {
        for (format, total, bucket) in [
            (Format::Text, "_total", r#"code="2xx",le="0.005"} 1"#),
            (Format::OpenMetrics, "", r#"code="2xx"} 1"#),
        ] {
            let text = encode(snapshot(), format).expect("encoded");
            let declared = format!("# TYPE wasgi_http_requests{total} counter\n");
            assert!(text.contains(&declared), "{text}");
            let labels = r#"{handler="a\"b\\\n{}",code="2xx"}"#;
            let line = format!("wasgi_http_requests_total{labels} 1");
            assert!(text.contains(&line), "{text}");
            let mut lines = text.lines();
            let is_in_bucket =
                lines.any(|line| line.contains(r#"le="0.005""#) && line.ends_with(bucket));
            assert!(is_in_bucket, "{text}");
            assert!(text.contains("wasgi_http_response_bytes_total{"), "{text}");
            let is_open_metrics = format == Format::OpenMetrics;
            assert_eq!(text.ends_with("# EOF\n"), is_open_metrics);
        }
    }

    /// The maximum size of the metrics of one handler with a short name, in bytes, if its requests
    /// have statuses of two classes.
    const MAX_HANDLER_BYTES: usize = 8 * 1024;

    #[test]
    fn the_size_of_a_scrape_is_bounded_by_the_number_of_handlers() {
        const HANDLERS: usize = 1000;
        let size = |handlers: usize| {
            let mut snapshot = Snapshot::default();
            let counts = HandlerCounts::default();
            for micros in 0..10_000 {
                counts.request(200, Duration::from_micros(micros * 1_000), 1, 1);
                counts.request(500, Duration::from_micros(micros * 1_000), 1, 1);
            }
            for handler in 0..handlers {
                let name = format!("handler-{handler}");
                counts.collect(&name, &mut snapshot);
            }
            encode(snapshot, Format::Text).expect("encoded").len()
        };
        let each = (size(HANDLERS) - size(0)) / HANDLERS;
        assert!((1024..MAX_HANDLER_BYTES).contains(&each), "{each}");
    }

    #[test]
    fn a_client_that_names_open_metrics_gets_it() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain;version=0.0.4;q=0.5", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3",
                Format::OpenMetrics,
            ),
            ("x-application/openmetrics-text", Format::Text),
        ] {
            assert_eq!(Format::for_accept(accept), format, "{accept}");
        }
    }

    #[test]
    fn a_virtual_host_is_a_label_of_its_own() {
        let mut snapshot = Snapshot::default();
        for name in [
            "shop",
            "//a.test/shop",
            "//a.test/",
            "//*.b.test/users/[id]",
        ] {
            let counts = HandlerCounts::default();
            counts.request(200, Duration::from_millis(3), 0, 70);
            counts.collect(name, &mut snapshot);
        }
        for format in [Format::Text, Format::OpenMetrics] {
            let text = encode(snapshot.clone(), format).expect("encoded");
            for labels in [
                r#"{handler="shop",code="2xx"}"#,
                r#"{handler="shop",host="a.test",code="2xx"}"#,
                r#"{handler="",host="a.test",code="2xx"}"#,
                r#"{handler="users/[id]",host="*.b.test",code="2xx"}"#,
            ] {
                let series = format!("wasgi_http_requests_total{labels} 1");
                assert!(text.contains(&series), "{series}: {text}");
            }
            // Pages have no processor time.
            assert!(!text.contains(r#"wasgi_handler_cpu_seconds_total{handler="",host"#));
        }
    }
}
