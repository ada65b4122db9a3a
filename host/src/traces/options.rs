//! The standard variables of OpenTelemetry's SDKs and of the OTLP exporter.

use std::fmt;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Uri};
use percent_encoding::percent_decode_str;

use super::sampler::Sampler;
use crate::redact;

/// The maximum size of a variable's list, in members.
const MAX_MEMBERS: usize = 128;

/// The configuration of traces.
#[derive(Clone, Debug)]
pub(super) struct TraceOptions {
    pub(super) endpoint: Endpoint,
    /// Fields of each request to the collector. Their values may be secrets.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`: the time for one request to the collector.
    pub(super) timeout: Duration,
    /// The attributes of the resource, with `service.name`.
    pub(super) resource: Vec<(String, String)>,
    pub(super) sampler: Sampler,
    pub(super) batch: Batch,
}

/// The settings of the batch span processor: `OTEL_BSP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The time between two exports.
    pub(super) delay: Duration,
    /// The maximum time for one batch, with retries.
    pub(super) export_timeout: Duration,
    /// The maximum number of spans in the queue.
    pub(super) queue_spans: usize,
    /// The maximum number of spans of a batch.
    pub(super) batch_spans: usize,
}

/// The URL that spans are sent to.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) is_https: bool,
    pub(super) host: String,
    pub(super) port: u16,
    /// The path and the query.
    pub(super) path: PathAndQuery,
}

/// What the variables say.
#[derive(Debug)]
pub(super) enum Parsed {
    /// Traces are off.
    Off,
    On(Box<TraceOptions>),
}

impl TraceOptions {
    /// Reads the variables. Calls `warn` with each that is invalid, which then has no effect.
    /// Traces are on if an endpoint is set, and the exporter is not `none`.
    pub(super) fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
        warn: &mut impl FnMut(String),
    ) -> Parsed {
        // An empty variable counts as unset.
        let get = |name: &str| {
            let value = variable(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let of_traces = |name: &str| {
            let traces = format!("OTEL_EXPORTER_OTLP_TRACES_{name}");
            let all = format!("OTEL_EXPORTER_OTLP_{name}");
            let own = get(&traces).map(|value| (traces, value));
            own.or_else(|| get(&all).map(|value| (all, value)))
        };
        let is_disabled =
            get("OTEL_SDK_DISABLED").is_some_and(|it| it.eq_ignore_ascii_case("true"));
        let Some((name, url)) = of_traces("ENDPOINT").filter(|_| !is_disabled) else {
            return Parsed::Off;
        };
        match get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Parsed::Off,
            Some(_) => {
                warn("OTEL_TRACES_EXPORTER: only otlp and none are supported: no traces".into());
                return Parsed::Off;
            }
        }
        if let Some((name, protocol)) = of_traces("PROTOCOL")
            && protocol != "http/protobuf"
        {
            warn(format!(
                "{name}: only http/protobuf is supported: no traces"
            ));
            return Parsed::Off;
        }
        let is_whole = name.contains("TRACES");
        let Some(endpoint) = Endpoint::parse(&url, is_whole) else {
            let shown = redact::urls(&url);
            warn(format!(
                "{name}: expected http://HOST:PORT, found {shown:?}: no traces"
            ));
            return Parsed::Off;
        };
        let headers = of_traces("HEADERS").map(|(name, list)| headers(&name, &list, warn));
        let mut milliseconds = |name: &str, default: u64| {
            let value = get(name);
            let parsed = value.as_deref().map(str::parse::<u64>);
            let is_bad = !matches!(parsed, None | Some(Ok(1..)));
            if is_bad {
                warn(format!(
                    "{name}: expected a positive whole number: {default} is used"
                ));
            }
            parsed
                .and_then(Result::ok)
                .filter(|value| *value > 0)
                .unwrap_or(default)
        };
        let of_all = milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000);
        let timeout = milliseconds("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", of_all);
        let delay = milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5_000);
        let export_timeout = milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 30_000);
        let queue = milliseconds("OTEL_BSP_MAX_QUEUE_SIZE", 2_048).min(Batch::MAX_QUEUE_SPANS);
        let batch = milliseconds("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512).min(queue);
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let sampler = Sampler::parse(
            get("OTEL_TRACES_SAMPLER").as_deref(),
            get("OTEL_TRACES_SAMPLER_ARG").as_deref(),
            warn,
        );
        let resource = resource(
            get("OTEL_SERVICE_NAME"),
            get("OTEL_RESOURCE_ATTRIBUTES").as_deref(),
            warn,
        );
        Parsed::On(Box::new(Self {
            endpoint,
            headers: headers.unwrap_or_default(),
            timeout: Duration::from_millis(timeout),
            resource,
            sampler,
            batch: Batch {
                delay: Duration::from_millis(delay),
                export_timeout: Duration::from_millis(export_timeout),
                queue_spans: size(queue),
                batch_spans: size(batch),
            },
        }))
    }
}

impl Batch {
    /// The maximum of `OTEL_BSP_MAX_QUEUE_SIZE`: a span takes some 2 KiB.
    const MAX_QUEUE_SPANS: u64 = 100_000;
}

impl Endpoint {
    /// Parses a URL. `/v1/traces` is appended unless the URL is that of the traces (`is_whole`).
    fn parse(url: &str, is_whole: bool) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return None,
        };
        let authority: &Authority = uri.authority()?;
        // Credentials belong into the headers.
        if authority.as_str().contains('@') {
            return None;
        }
        let port = authority
            .port_u16()
            .unwrap_or(if is_https { 443 } else { 80 });
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let path = match is_whole {
            true => uri.path_and_query().cloned()?,
            false => {
                let path = uri.path().trim_end_matches('/');
                format!("{path}/v1/traces").parse().ok()?
            }
        };
        (!host.is_empty()).then_some(Self {
            is_https,
            host,
            port,
            path,
        })
    }

    /// Returns host and port, as a Host field has them.
    pub(super) fn authority(&self) -> String {
        let (host, port) = (&self.host, self.port);
        match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        }
    }
}

/// Formats the URL without its query, which may contain a secret.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits `key=value,key=value`. Values are percent-encoded.
fn members(list: &str) -> impl Iterator<Item = Option<(&str, String)>> {
    let members = list.split(',').map(str::trim).filter(|it| !it.is_empty());
    members.take(MAX_MEMBERS).map(|member| {
        let (key, value) = member.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((key.trim(), value.into_owned()))
    })
}

fn headers(
    name: &str,
    list: &str,
    warn: &mut impl FnMut(String),
) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    for member in members(list) {
        let header = member.and_then(|(key, value)| {
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(key.as_bytes()).ok()?, value))
        });
        match header {
            Some(header) => headers.push(header),
            // Its text may be a secret.
            None => warn(format!(
                "{name}: expected NAME=VALUE,NAME=VALUE: one is ignored"
            )),
        }
    }
    headers
}

fn resource(
    service: Option<String>,
    list: Option<&str>,
    warn: &mut impl FnMut(String),
) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for member in list.into_iter().flat_map(members) {
        match member {
            Some((key, value)) if !key.is_empty() => attributes.push((key.to_owned(), value)),
            _ => {
                let name = "OTEL_RESOURCE_ATTRIBUTES";
                warn(format!(
                    "{name}: expected KEY=VALUE,KEY=VALUE: one is ignored"
                ));
            }
        }
    }
    let own = service.map(|name| ("service.name".to_owned(), name));
    if let Some(own) = own {
        attributes.retain(|(key, _)| key != "service.name");
        attributes.push(own);
    } else if !attributes.iter().any(|(key, _)| key == "service.name") {
        attributes.push(("service.name".to_owned(), "wasgi".to_owned()));
    }
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> (Option<TraceOptions>, Vec<String>) {
        let mut warnings = Vec::new();
        let get = |name: &str| {
            let mut found = variables.iter().filter(|(key, _)| *key == name);
            found.next().map(|(_, value)| (*value).to_owned())
        };
        let parsed = TraceOptions::from_variables(get, &mut |line| warnings.push(line));
        match parsed {
            Parsed::Off => (None, warnings),
            Parsed::On(options) => (Some(*options), warnings),
        }
    }

    const ON: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn traces_are_off_unless_an_endpoint_is_set() {
        for off in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[ON, ("OTEL_SDK_DISABLED", "true")],
            &[ON, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            let (options, warnings) = parse(off);
            assert!(
                options.is_none() && warnings.is_empty(),
                "{off:?} {warnings:?}"
            );
        }
        for (bad, line) in [
            (
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf",
            ),
            (
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318"),
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: expected http://",
            ),
            (
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:secret@b/"),
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: expected http://",
            ),
            (
                ("OTEL_TRACES_EXPORTER", "zipkin"),
                "OTEL_TRACES_EXPORTER: only otlp",
            ),
        ] {
            let (options, warnings) = parse(&[ON, bad]);
            assert!(options.is_none());
            let [warning] = &warnings[..] else {
                panic!("{warnings:?}");
            };
            assert!(
                warning.starts_with(line) && !warning.contains("secret"),
                "{warning}"
            );
        }
    }

    #[test]
    fn the_endpoint_of_all_signals_gets_a_path_and_that_of_traces_does_not() {
        let endpoint = |variables: &[(&str, &str)]| parse(variables).0.expect("on").endpoint;
        assert_eq!(
            endpoint(&[ON]).to_string(),
            "http://collector:4318/v1/traces"
        );
        let slash = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://[::1]/otlp/")];
        assert_eq!(
            endpoint(&slash).to_string(),
            "https://[::1]:443/otlp/v1/traces"
        );
        let traces = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://other:80/in?key=secret",
        );
        let endpoint = endpoint(&[ON, traces]);
        assert_eq!(endpoint.to_string(), "http://other:80/in");
        assert_eq!(endpoint.path, "/in?key=secret");
    }

    #[test]
    fn each_variable_has_its_default_and_an_invalid_one_is_named() {
        let (options, warnings) = parse(&[ON]);
        let options = options.expect("on");
        assert_eq!(warnings, [""; 0]);
        assert_eq!(options.timeout, Duration::from_secs(10));
        assert_eq!(options.batch.delay, Duration::from_secs(5));
        assert_eq!(
            (options.batch.queue_spans, options.batch.batch_spans),
            (2048, 512)
        );
        assert_eq!(options.resource, [("service.name".into(), "wasgi".into())]);
        let (options, warnings) = parse(&[
            ON,
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Bearer%20abc, x=1,bad,y=\u{7}",
            ),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "500"),
            ("OTEL_SERVICE_NAME", "shop"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=other,deployment.environment.name=a%2Cb",
            ),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
        ]);
        let options = options.expect("on");
        assert_eq!(options.headers.len(), 2);
        assert_eq!(options.headers[0].1, "Bearer abc");
        assert_eq!(options.timeout, Duration::from_millis(500));
        assert_eq!(
            (options.batch.queue_spans, options.batch.batch_spans),
            (10, 10)
        );
        let expected = [
            ("deployment.environment.name", "a,b"),
            ("service.name", "shop"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(options.resource, expected);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(!format!("{options:?} {warnings:?}").contains("abc"));
    }
}
