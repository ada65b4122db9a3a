//! The values of the admin listener at one time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;
use serde_json::Value;

use crate::admin::{self, AdminAddr};
use crate::host_name;

/// The values at one time.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(super) taken: Instant,
    pub(super) totals: Totals,
    /// By full name of the handler; empty for pages, or `//HOST/` for those of a virtual host.
    pub(super) handlers: BTreeMap<String, Counts>,
    /// The body of `/status`.
    pub(super) status: Value,
}

/// The values of all processes together.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) received_bytes: f64,
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: f64,
    pub(super) instance_bytes: f64,
}

/// The values of one handler.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) requests: f64,
    /// Those with a status of the class 5xx.
    pub(super) errors: f64,
    /// The number of requests, by the maximum time that they took in microseconds. The last maximum
    /// is [`u64::MAX`].
    pub(super) buckets: BTreeMap<u64, f64>,
    pub(super) sent_bytes: f64,
    pub(super) cpu_seconds: f64,
    pub(super) in_flight: f64,
    pub(super) queued: f64,
    pub(super) memory_bytes: f64,
}

impl Sample {
    /// Asks the admin listener.
    ///
    /// # Errors
    ///
    /// Fails if it doesn't answer. The error begins with the address.
    pub(crate) fn read(addr: &AdminAddr) -> anyhow::Result<Self> {
        let status = admin::get(addr, "/status")?;
        let status = serde_json::from_str(&status)
            .with_context(|| format!("{addr}/status: the answer is not JSON"))?;
        let metrics = admin::get(addr, "/metrics")?;
        Ok(Self::new(&metrics, status, Instant::now()))
    }

    pub(super) fn new(metrics: &str, status: Value, taken: Instant) -> Self {
        let mut sample = Self {
            taken,
            totals: Totals::default(),
            handlers: BTreeMap::new(),
            status,
        };
        for series in metrics.lines().filter_map(Series::parse) {
            sample.add(&series);
        }
        sample
    }

    fn add(&mut self, series: &Series<'_>) {
        let value = series.value;
        match series.name {
            "wasgi_received_bytes_total" => self.totals.received_bytes += value,
            "process_cpu_seconds_total" => self.totals.cpu_seconds += value,
            "process_resident_memory_bytes" => self.totals.resident_bytes += value,
            "wasgi_instance_memory_bytes" => self.totals.instance_bytes += value,
            name => {
                let Some(handler) = series.label("handler") else {
                    return;
                };
                let handler = host_name::full_name(series.label("host"), handler);
                let counts = self.handlers.entry(handler).or_default();
                counts.add(name, series);
            }
        }
    }
}

impl Counts {
    fn add(&mut self, name: &str, series: &Series<'_>) {
        let value = series.value;
        match name {
            "wasgi_http_requests_total" => {
                self.requests += value;
                if series.label("code") == Some("5xx") {
                    self.errors += value;
                }
            }
            "wasgi_http_request_duration_seconds_bucket" => {
                let bound = series.label("le").and_then(|le| le.parse::<f64>().ok());
                if let Some(seconds) = bound {
                    // Saturates: there is one bucket without a bound.
                    let micros = (seconds * 1e6).round() as u64;
                    *self.buckets.entry(micros).or_default() += value;
                }
            }
            "wasgi_http_response_bytes_total" => self.sent_bytes += value,
            "wasgi_handler_cpu_seconds_total" => self.cpu_seconds += value,
            "wasgi_http_requests_in_flight" => self.in_flight += value,
            "wasgi_http_requests_queued" => self.queued += value,
            "wasgi_handler_memory_bytes" => self.memory_bytes += value,
            _ => {}
        }
    }
}

/// One line of the text format: `name{label="value",…} number`.
#[derive(Debug)]
struct Series<'t> {
    name: &'t str,
    labels: Vec<(&'t str, Cow<'t, str>)>,
    value: f64,
}

impl<'t> Series<'t> {
    /// Parses a line. Returns none for a comment, and for what is no series.
    fn parse(line: &'t str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let Some((name, mut rest)) = line.split_once('{') else {
            let (name, value) = line.split_once(' ')?;
            let (labels, value) = (Vec::new(), value.parse().ok()?);
            return Some(Self {
                name,
                labels,
                value,
            });
        };
        let mut labels = Vec::new();
        while !rest.starts_with('}') {
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, after) = unquote(quoted)?;
            labels.push((label, value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        let value = rest.strip_prefix("} ")?.parse().ok()?;
        Some(Self {
            name,
            labels,
            value,
        })
    }

    fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(label, _)| *label == name)
            .map(|(_, value)| &**value)
    }
}

/// Returns the value before the closing quote, without escapes, and the text after the quote.
fn unquote(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    if text.get(end..)?.starts_with('"') {
        return Some((text.get(..end)?.into(), text.get(end + 1..)?));
    }
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value.into(), text.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_without_their_escapes() {
        let line = r#"a{b="c",d="\"\\\n}{, "} 1.5"#;
        let series = Series::parse(line).expect(line);
        assert_eq!((series.name, series.value), ("a", 1.5));
        assert_eq!(series.label("b"), Some("c"));
        assert_eq!(series.label("d"), Some("\"\\\n}{, "));
        assert_eq!(Series::parse("a 2").map(|one| one.value), Some(2.0));
        assert_eq!(Series::parse("a{} 2").map(|one| one.value), Some(2.0));
        let infinite = Series::parse(r#"a{le="+Inf"} 2"#).expect("a series");
        assert_eq!(infinite.label("le"), Some("+Inf"));
        for bad in [
            "",
            "# HELP a",
            "a",
            "a{",
            "a{b",
            "a{b=\"c",
            "a{b=\"c\\",
            "a{b=\"c\"}",
            "a{} x",
        ] {
            assert!(Series::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn values_are_added_over_the_classes_of_status() {
        let text = "\
            wasgi_http_requests_total{handler=\"a\",code=\"2xx\"} 3\n\
            wasgi_http_requests_total{handler=\"a\",code=\"5xx\"} 1\n\
            wasgi_http_request_duration_seconds_bucket{handler=\"a\",code=\"2xx\",le=\"0.1\"} 2\n\
            wasgi_http_request_duration_seconds_bucket{handler=\"a\",code=\"2xx\",le=\"+Inf\"} 3\n\
            wasgi_http_request_duration_seconds_bucket{handler=\"a\",code=\"5xx\",le=\"0.1\"} 0\n\
            wasgi_http_request_duration_seconds_bucket{handler=\"a\",code=\"5xx\",le=\"+Inf\"} 1\n\
            process_cpu_seconds_total 7\n";
        let sample = Sample::new(text, Value::Null, Instant::now());
        let counts = &sample.handlers["a"];
        assert_eq!((counts.requests, counts.errors), (4.0, 1.0));
        let buckets: Vec<_> = counts
            .buckets
            .iter()
            .map(|(at, count)| (*at, *count))
            .collect();
        assert_eq!(buckets, [(100_000, 2.0), (u64::MAX, 4.0)]);
        assert_eq!(sample.totals.cpu_seconds, 7.0);
    }
}
