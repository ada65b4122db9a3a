//! The thread that sends spans to the collector.

use std::time::{Duration, Instant};

use super::message::{ExportRequest, KeyValue, SpanMessage, decode_response};
use super::options::TraceOptions;
use super::queue::Queue;
use crate::outbound::own::{self, Peer, Reply};
use crate::printable;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};

/// The time before a batch is sent again for the first time. It doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The minimum time between two messages about spans that found no space in the queue.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The maximum length of a collector's message in the log, in bytes.
const MESSAGE_BYTES: usize = 200;

/// The time for one request at the end of the process.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a batch was not accepted.
struct Refused {
    why: String,
    /// Whether to send it again, and the time that the collector asks for.
    retry: Option<Option<Duration>>,
}

/// What the log says about the collector.
struct Report {
    endpoint: String,
    is_failing: bool,
    dropped: u64,
    told: Option<Instant>,
}

/// Sends batches until the queue is closed.
pub(super) fn run(options: &TraceOptions, queue: &Queue) {
    let mut report = Report {
        endpoint: options.endpoint.to_string(),
        is_failing: false,
        dropped: 0,
        told: None,
    };
    match own::Client::new("wasgi-traces") {
        Ok(client) => export(options, queue, &client, &mut report),
        Err(error) => tracing::error!("traces are off: {error}"),
    }
    report.end(queue);
    queue.done();
}

fn export(options: &TraceOptions, queue: &Queue, client: &own::Client, report: &mut Report) {
    while let Some(spans) = queue.take() {
        if !spans.is_empty() {
            send(options, queue, client, spans, report);
        }
        report.tell_dropped(queue);
    }
}

/// Sends a batch, again while the collector asks for that, and counts it as dropped otherwise.
fn send(
    options: &TraceOptions,
    queue: &Queue,
    client: &own::Client,
    spans: Vec<SpanMessage>,
    report: &mut Report,
) {
    let count = spans.len() as u64;
    let body = Bytes::from(request(options, spans).encode());
    let deadline = Instant::now() + options.batch.export_timeout;
    let mut pause = FIRST_PAUSE;
    let mut is_last = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = if is_last {
            LAST_TIMEOUT
        } else {
            options.timeout
        };
        match attempt(options, client, body.clone(), timeout.min(left)) {
            Ok(rejected) => {
                queue.drop_spans(rejected);
                return report.accepted(queue);
            }
            Err(refused) => {
                report.refused(&refused.why);
                let wanted = refused.retry.map(|wanted| wanted.unwrap_or(pause));
                let left = deadline.saturating_duration_since(Instant::now());
                let Some(wanted) = wanted.filter(|wanted| *wanted < left && !is_last) else {
                    return queue.drop_spans(count);
                };
                // At the end of the process, there is one more attempt.
                is_last = !queue.pause(wanted);
                pause *= 2;
            }
        }
    }
}

/// Sends a batch once. Returns the number of spans that the collector has rejected.
fn attempt(
    options: &TraceOptions,
    client: &own::Client,
    body: Bytes,
    timeout: Duration,
) -> Result<u64, Refused> {
    let endpoint = &options.endpoint;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = endpoint.path.clone().into();
    let fields = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&endpoint.authority()) {
        fields.insert(HOST, host);
    }
    fields.insert(USER_AGENT, HeaderValue::from_static(crate::SERVER_SOFTWARE));
    for (name, value) in &options.headers {
        fields.insert(name, value.clone());
    }
    let content = HeaderValue::from_static("application/x-protobuf");
    fields.insert(CONTENT_TYPE, content);
    let peer = Peer {
        is_https: endpoint.is_https,
        host: &endpoint.host,
        port: endpoint.port,
        authorities: None,
    };
    let reply = client.send(peer, request, timeout);
    let reply = reply.map_err(|error| Refused {
        why: error.to_string(),
        retry: Some(None),
    })?;
    accepted(&reply)
}

/// Interprets a response (OTLP specification 1.x, section "OTLP/HTTP Response").
fn accepted(reply: &Reply) -> Result<u64, Refused> {
    let is_retried = matches!(
        reply.status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    if reply.status.is_success() {
        let Some(partial) = decode_response(&reply.body) else {
            return Err(Refused {
                why: "the response is not of OTLP: is this a collector?".into(),
                retry: None,
            });
        };
        let rejected = partial.rejected_spans;
        if rejected > 0 {
            let message = printable::front(&partial.error_message, MESSAGE_BYTES);
            tracing::debug!(
                "the collector has rejected {rejected} spans: {}",
                printable::one_line(message)
            );
        }
        return Ok(rejected);
    }
    let after = reply.fields.get(RETRY_AFTER);
    let after = after.and_then(|value| value.to_str().ok()?.parse().ok());
    Err(Refused {
        why: match reply.status.is_redirection() {
            true => format!(
                "status {}: redirects are not followed",
                reply.status.as_u16()
            ),
            false => format!("status {}", reply.status.as_u16()),
        },
        retry: is_retried.then(|| after.map(Duration::from_secs)),
    })
}

fn request(options: &TraceOptions, spans: Vec<SpanMessage>) -> ExportRequest {
    let attributes = options.resource.iter();
    let attributes = attributes.map(|(key, value)| KeyValue::text(key, value));
    let own = [
        KeyValue::text("telemetry.sdk.name", "wasgi"),
        KeyValue::text("telemetry.sdk.language", "rust"),
        KeyValue::text("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        KeyValue::number("process.pid", std::process::id().into()),
    ];
    ExportRequest {
        resource: attributes.chain(own).collect(),
        scope_name: "wasgi",
        scope_version: env!("CARGO_PKG_VERSION"),
        spans,
    }
}

impl Report {
    /// Logs the first of several failures.
    fn refused(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let endpoint = &self.endpoint;
            tracing::warn!(
                "traces: {endpoint} does not accept spans: {}; they are dropped until it does",
                printable::one_line(why)
            );
        }
    }

    /// Logs the end of failures, with the number of spans that were dropped.
    fn accepted(&mut self, queue: &Queue) {
        if std::mem::take(&mut self.is_failing) {
            let (endpoint, dropped) = (&self.endpoint, self.dropped + queue.take_dropped());
            self.dropped = 0;
            tracing::info!("traces: {endpoint} accepts spans again; {dropped} were dropped");
        }
    }

    /// Logs the number of spans that were dropped while the collector accepts spans.
    fn tell_dropped(&mut self, queue: &Queue) {
        self.dropped += queue.take_dropped();
        let now = Instant::now();
        let is_recent = |told| now.saturating_duration_since(told) < REPORT_INTERVAL;
        if self.is_failing || self.dropped == 0 || self.told.is_some_and(is_recent) {
            return;
        }
        self.told = Some(now);
        let dropped = std::mem::take(&mut self.dropped);
        tracing::warn!(
            "traces: {dropped} spans were dropped: the queue was full (OTEL_BSP_MAX_QUEUE_SIZE), \
             or the collector has rejected them"
        );
    }

    /// Logs the number of spans that were dropped and not reported.
    fn end(&mut self, queue: &Queue) {
        let dropped = self.dropped + queue.take_dropped();
        if dropped > 0 {
            tracing::warn!("traces: {dropped} spans were dropped");
        }
    }
}
