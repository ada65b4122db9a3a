//! Which values make sense, each by itself and together.

use super::{Complaint, Config};
use crate::units::{duration, size};

/// Whole numbers above this are typing errors, whatever they count.
const MANY: u64 = 1_000_000;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Checks what the types can't. `is_set` says whether somebody has said a key: a default that is at
/// odds with what was said gives way, and is no contradiction.
///
/// # Errors
///
/// A value is out of its range, or two that were set contradict each other.
pub(super) fn check(config: &Config, is_set: impl Fn(&str) -> bool) -> Result<(), Complaint> {
    for range in counts(config) {
        range.check(|count| count.to_string())?;
    }
    for range in sizes(config) {
        range.check(size::show)?;
    }
    for range in rates(config) {
        range.check(|rate| format!("{}/s", size::show(rate)))?;
    }
    for pair in pairs(config) {
        if pair.part > pair.whole && is_set(pair.part_key) && is_set(pair.whole_key) {
            let why = format!("{} is more than {} is", pair.shown, pair.whole_key);
            return Err(Complaint::new(pair.part_key, why));
        }
    }
    companions(config)
}

/// Keys that are of no use without another.
fn companions(config: &Config) -> Result<(), Complaint> {
    let (tls, proxy) = (&config.tls, &config.proxy);
    let (cert, key) = (tls.cert.is_some(), tls.key.is_some());
    for (key, is_set, other, other_is_set) in [
        ("tls.cert", cert, "tls.key", key),
        ("tls.key", key, "tls.cert", cert),
        (
            "tls.redirect-http",
            tls.redirect_http.is_some(),
            "tls.cert",
            cert,
        ),
        (
            "tls.redirect-port",
            tls.redirect_port.is_some(),
            "tls.redirect-http",
            tls.redirect_http.is_some(),
        ),
        (
            "proxy.protocol",
            proxy.protocol,
            "proxy.trusted",
            !proxy.trusted.is_empty(),
        ),
    ] {
        if is_set && !other_is_set {
            let why = format!("is of no use without {other}");
            return Err(Complaint::new(key, why));
        }
    }
    Ok(())
}

/// A value and the range that it has to be in.
struct Bounds {
    key: &'static str,
    value: u64,
    least: u64,
    most: u64,
}

impl Bounds {
    fn check(&self, show: impl Fn(u64) -> String) -> Result<(), Complaint> {
        if (self.least..=self.most).contains(&self.value) {
            return Ok(());
        }
        let [value, least, most] = [self.value, self.least, self.most].map(show);
        let why = format!("expected {least} to {most}, found {value}");
        Err(Complaint::new(self.key, why))
    }
}

fn bounds(key: &'static str, value: impl TryInto<u64>, least: u64, most: u64) -> Bounds {
    Bounds {
        key,
        value: value.try_into().unwrap_or(u64::MAX),
        least,
        most,
    }
}

fn counts(config: &Config) -> [Bounds; 8] {
    let (http, limits) = (&config.http, &config.limits);
    let threads = config.server.threads.unwrap_or(1);
    let newlines = http.leading_newlines_count;
    [
        bounds("server.threads", threads, 1, 1024),
        bounds("limits.connections", limits.connections_count, 1, MANY),
        bounds(
            "limits.connections-per-address",
            limits.connections_per_address_count,
            1,
            MANY,
        ),
        bounds("limits.field-count", http.fields_count as u64, 1, 10_000),
        bounds("limits.leading-newlines", newlines as u64, 1, 1000),
        bounds(
            "limits.trailer-count",
            http.trailers_count as u64,
            0,
            10_000,
        ),
        bounds(
            "limits.requests-per-connection",
            http.requests_per_connection_count,
            1,
            u64::from(u32::MAX),
        ),
        bounds(
            "budget.concurrent-requests",
            config.budget.concurrent_requests as u64,
            1,
            MANY,
        ),
    ]
}

fn sizes(config: &Config) -> [Bounds; 11] {
    let (http, budget) = (&config.http, &config.budget);
    let extensions = http.chunk_extensions_bytes as u64;
    [
        // RFC 9112 section 3 asks for 8,000 octets; who wants less has a reason.
        bounds(
            "limits.request-line",
            http.request_line_bytes as u64,
            64,
            MIB,
        ),
        bounds("limits.field-line", http.field_line_bytes as u64, 64, MIB),
        bounds("limits.fields", http.fields_bytes as u64, 64, 16 * MIB),
        bounds(
            "limits.chunk-line",
            http.chunk_line_bytes as u64,
            16,
            64 * KIB,
        ),
        bounds("limits.chunk-extensions", extensions, 0, GIB),
        bounds("limits.trailers", http.trailers_bytes as u64, 0, MIB),
        bounds(
            "limits.read-ahead",
            http.read_ahead_bytes as u64,
            KIB,
            64 * MIB,
        ),
        bounds("limits.drain", http.drain_bytes, 0, GIB),
        // A page of WebAssembly's to all that it can address.
        bounds(
            "budget.memory",
            budget.memory_bytes as u64,
            64 * KIB,
            4 * GIB,
        ),
        bounds(
            "budget.response-head",
            budget.response_head_bytes as u64,
            64,
            16 * MIB,
        ),
        bounds("budget.log", budget.log_bytes as u64, 0, GIB),
    ]
}

fn rates(config: &Config) -> [Bounds; 2] {
    let body = config.http.body_rate_bytes_per_second;
    let write = config.limits.write_rate_bytes_per_second;
    [
        bounds("limits.body-rate", body, 1, GIB),
        bounds("limits.write-rate", write, 1, GIB),
    ]
}

/// Two values of which one can't be reached if it is more than the other.
struct Pair {
    part_key: &'static str,
    part: u64,
    shown: String,
    whole_key: &'static str,
    whole: u64,
}

fn pairs(config: &Config) -> [Pair; 4] {
    let (http, limits, budget) = (&config.http, &config.limits, &config.budget);
    let per_address = u64::from(limits.connections_per_address_count);
    let milliseconds =
        |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    [
        Pair {
            part_key: "limits.connections-per-address",
            part: per_address,
            shown: per_address.to_string(),
            whole_key: "limits.connections",
            whole: u64::from(limits.connections_count),
        },
        Pair {
            part_key: "limits.field-line",
            part: http.field_line_bytes as u64,
            shown: size::show(http.field_line_bytes as u64),
            whole_key: "limits.fields",
            whole: http.fields_bytes as u64,
        },
        Pair {
            part_key: "budget.cpu-time",
            part: milliseconds(budget.cpu_time),
            shown: duration::show(budget.cpu_time),
            whole_key: "budget.wall-time",
            whole: milliseconds(budget.wall_time),
        },
        Pair {
            part_key: "budget.wall-time",
            part: milliseconds(budget.wall_time),
            shown: duration::show(budget.wall_time),
            whole_key: "limits.request-timeout",
            whole: milliseconds(limits.request_timeout),
        },
    ]
}
