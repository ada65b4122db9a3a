//! Checks the ranges of values and their consistency.

use std::time::Duration;

use super::{Complaint, Config};
use crate::static_files;
use crate::units::{self, duration, size};

/// The maximum of most counts: a larger number is a typing error.
const MANY: u64 = 1_000_000;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Checks what the types cannot express, in a configuration whose defaults are already adjusted.
///
/// # Errors
///
/// Fails if a value is out of range, or if two values that were set contradict each other.
pub(super) fn check(config: &Config) -> Result<(), Complaint> {
    for range in counts(config) {
        range.check(|count| count.to_string())?;
    }
    for range in sizes(config) {
        range.check(size::show)?;
    }
    if let units::Share::Bytes(bytes) = config.limits.memory {
        bounds("limits.memory", bytes, MIB, size::MAX_BYTES).check(size::show)?;
    }
    for range in rates(config) {
        range.check(|rate| format!("{}/s", size::show(rate)))?;
    }
    if let Some(pair) = PAIRS.iter().find(|pair| pair.is_at_odds(config)) {
        let shown = (pair.show)((pair.part.get)(config));
        let why = format!("{shown} is more than {} is", pair.whole.key);
        return Err(Complaint::new(pair.part.key, why));
    }
    handlers(config)?;
    companions(config)?;
    static_files::check(&config.page_options())
        .map_err(|why| Complaint::new(why.key, format!("{:#}", why.error)))
}

/// Checks for keys that have no effect without another one.
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

/// Checks the settings of individual handlers.
fn handlers(config: &Config) -> Result<(), Complaint> {
    for (name, handler) in config.handlers.iter() {
        let of = |key: &str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            let why = format!("{key}: expected {least} to {most}, found {value}");
            Err(Complaint::new(format!("handlers.{name}"), why))
        };
        of("reuse", handler.reuse.unwrap_or(1).into(), 1, MANY)?;
        let requests = handler.concurrent_requests.unwrap_or(1);
        of("concurrent-requests", requests as u64, 1, MANY)?;
        if let Some(bytes) = handler.memory_bytes {
            let most = config.budget.memory_bytes as u64;
            if !(64 * KIB..=most).contains(&bytes) {
                let [least, most, found] = [64 * KIB, most, bytes].map(size::show);
                let why = format!("memory: expected {least} to {most}, found {found}");
                return Err(Complaint::new(format!("handlers.{name}"), why));
            }
        }
    }
    Ok(())
}

/// A value and its valid range.
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

fn counts(config: &Config) -> [Bounds; 10] {
    let (http, limits) = (&config.http, &config.limits);
    let threads = config.server.threads.unwrap_or(1);
    let newlines = http.leading_newlines_count;
    [
        bounds("server.threads", threads, 1, 1024),
        bounds("server.processes", config.server.processes, 1, 1024),
        bounds(
            "compile.processes",
            config.compile.processes.unwrap_or(1),
            1,
            1024,
        ),
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

fn sizes(config: &Config) -> [Bounds; 22] {
    let (http, budget, compress) = (&config.http, &config.budget, &config.compress);
    let (compile, log) = (&config.compile, &config.log);
    let extensions = http.chunk_extensions_bytes as u64;
    [
        bounds(
            "site.code-cache-size",
            config.site.code_cache_bytes,
            MIB,
            size::MAX_BYTES,
        ),
        // RFC 9112 section 3 recommends 8,000 octets; a lower limit is a deliberate choice.
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
        // From one page of WebAssembly memory to the whole address space.
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
        bounds("budget.block", budget.block_bytes as u64, 64 * KIB, 4 * GIB),
        bounds("budget.log", budget.log_bytes as u64, 0, GIB),
        // A process reserves some 250 MiB of address space before it loads a handler.
        bounds(
            "compile.address-space",
            compile.address_space_bytes.unwrap_or(GIB),
            512 * MIB,
            size::MAX_BYTES,
        ),
        // From the stack that the smallest handlers need, to one that leaves its process room for
        // others.
        bounds("compile.stack", compile.stack_bytes, 256 * KIB, GIB),
        bounds("compile.output", compile.output_bytes, MIB, 64 * GIB),
        bounds("pages.cache", config.pages.cache_bytes as u64, 0, 64 * GIB),
        bounds("compress.cache", compress.cache_bytes as u64, 0, 64 * GIB),
        bounds("compress.min-size", compress.min_bytes, 0, GIB),
        bounds("limits.log-line", log.line_bytes as u64, 80, 256 * KIB),
        bounds("limits.log-burst", log.burst_bytes as u64, KIB, GIB),
        // The minimum holds the longest piece that a worker's output is forwarded in.
        bounds("limits.log-queue", log.queue_bytes as u64, MIB, GIB),
    ]
}

fn rates(config: &Config) -> [Bounds; 3] {
    let body = config.http.body_rate_bytes_per_second;
    let write = config.limits.write_rate_bytes_per_second;
    let log = config.log.rate_bytes_per_second;
    [
        bounds("limits.body-rate", body, 1, GIB),
        bounds("limits.write-rate", write, 1, GIB),
        bounds("limits.log-rate", log, 1, GIB),
    ]
}

/// Two values, the first of which has no effect if it exceeds the second.
struct Pair {
    part: Value,
    whole: Value,
    show: fn(u64) -> String,
}

/// A key's value, as a number for comparison.
struct Value {
    key: &'static str,
    get: fn(&Config) -> u64,
    set: fn(&mut Config, u64),
}

impl Pair {
    fn is_at_odds(&self, config: &Config) -> bool {
        (self.part.get)(config) > (self.whole.get)(config)
    }
}

/// Adjusts defaults that contradict a value that was set: lowers a part to its whole, or raises a
/// whole to its part.
pub(super) fn yield_defaults(config: &mut Config, is_set: impl Fn(&str) -> bool) {
    let mut moved: Vec<&str> = Vec::new();
    // A value that was adjusted for one pair counts as set for the next.
    for _ in 0..PAIRS.len() {
        for pair in &PAIRS {
            if !pair.is_at_odds(config) {
                continue;
            }
            let [part, whole] = [&pair.part, &pair.whole];
            let is_fixed =
                |value: &Value, moved: &[&str]| is_set(value.key) || moved.contains(&value.key);
            match (is_fixed(part, &moved), is_fixed(whole, &moved)) {
                (true, true) => {}
                (true, false) => {
                    (whole.set)(config, (part.get)(config));
                    moved.push(whole.key);
                }
                (false, _) => {
                    (part.set)(config, (whole.get)(config));
                    moved.push(part.key);
                }
            }
        }
    }
}

/// Creates the value of a duration in whole milliseconds, the resolution of configuration files.
macro_rules! milliseconds {
    ($key:literal, $($field:ident).+) => {
        Value {
            key: $key,
            get: |config| u64::try_from(config.$($field).+.as_millis()).unwrap_or(u64::MAX),
            set: |config, value| config.$($field).+ = Duration::from_millis(value),
        }
    };
}

const PAIRS: [Pair; 4] = [
    Pair {
        part: Value {
            key: "limits.connections-per-address",
            get: |config| config.limits.connections_per_address_count.into(),
            set: |config, value| config.limits.connections_per_address_count = narrow(value),
        },
        whole: Value {
            key: "limits.connections",
            get: |config| config.limits.connections_count.into(),
            set: |config, value| config.limits.connections_count = narrow(value),
        },
        show: |count| count.to_string(),
    },
    Pair {
        part: Value {
            key: "limits.field-line",
            get: |config| config.http.field_line_bytes as u64,
            set: |config, value| config.http.field_line_bytes = narrow(value) as usize,
        },
        whole: Value {
            key: "limits.fields",
            get: |config| config.http.fields_bytes as u64,
            set: |config, value| config.http.fields_bytes = narrow(value) as usize,
        },
        show: size::show,
    },
    Pair {
        part: milliseconds!("budget.cpu-time", budget.cpu_time),
        whole: milliseconds!("budget.wall-time", budget.wall_time),
        show: |time| duration::show(Duration::from_millis(time)),
    },
    Pair {
        part: milliseconds!("budget.wall-time", budget.wall_time),
        whole: milliseconds!("limits.request-timeout", limits.request_timeout),
        show: |time| duration::show(Duration::from_millis(time)),
    },
];

/// Converts a value that was checked to be in range.
fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
