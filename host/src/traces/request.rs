//! The spans of one request.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Tracer;
use super::context::{SpanContext, SpanId, TraceId, tracestate};
use super::message::{KeyValue, SpanMessage};
use super::{TRACEPARENT, TRACESTATE};
use crate::http1::RequestHead;
use crate::printable;

/// The maximum number of spans of one request. A handler may do any number of operations; further
/// ones are counted as dropped, so that they displace no other request's.
const MAX_SPANS: u32 = 128;

/// The maximum length of an attribute's value, in bytes.
const MAX_VALUE_BYTES: usize = 1024;

/// The kind of a span (OTLP, `SpanKind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpanKind {
    /// A step inside of the server.
    Internal = 1,
    /// The request of a client.
    Server = 2,
    /// A request to another system.
    Client = 3,
}

/// An attribute of a span.
#[derive(Clone, Debug)]
pub(crate) struct Attribute(KeyValue);

impl Attribute {
    /// Creates an attribute with a text, which is truncated. Bytes that are not UTF-8 are replaced.
    pub(crate) fn text(key: &str, value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        Self(KeyValue::text(
            key,
            printable::front(&value, MAX_VALUE_BYTES),
        ))
    }

    /// Creates an attribute with a number.
    pub(crate) fn number(key: &str, value: u64) -> Self {
        Self(KeyValue::number(key, value))
    }
}

/// The trace of one request.
#[derive(Debug)]
pub struct RequestTrace {
    tracer: Arc<Tracer>,
    /// The span of the request.
    context: SpanContext,
    /// The span of the client, if it has sent one.
    parent: Option<SpanId>,
    state: Option<String>,
    began: SystemTime,
    spans: AtomicU32,
}

/// A span that has begun. Dropping it ends the span.
#[derive(Debug)]
pub(crate) struct ActiveSpan {
    trace: Arc<RequestTrace>,
    id: SpanId,
    parent: SpanId,
    name: Cow<'static, str>,
    kind: SpanKind,
    began: SystemTime,
    attributes: Vec<KeyValue>,
    error: Option<String>,
}

impl Tracer {
    /// Begins the trace of a request, or continues the one that its client has begun.
    pub(crate) fn begin(self: &Arc<Self>, head: &RequestHead) -> Arc<RequestTrace> {
        let fields = |name: &'static str| {
            let fields = head.fields();
            let found = fields.filter(move |(field, _)| field.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value)
        };
        // Several are as good as none (W3C Trace Context, section 3.2).
        let mut given = fields(TRACEPARENT);
        let parent = match (given.next(), given.next()) {
            (Some(only), None) => SpanContext::parse(only),
            _ => None,
        };
        let state = parent.and_then(|_| tracestate(fields(TRACESTATE)));
        let trace = parent.map_or_else(TraceId::random, |parent| parent.trace);
        Arc::new(RequestTrace {
            context: SpanContext {
                trace,
                span: SpanId::random(),
                is_sampled: self.sampler.samples(trace, parent.as_ref()),
            },
            parent: parent.map(|parent| parent.span),
            state,
            tracer: self.clone(),
            began: SystemTime::now(),
            spans: AtomicU32::new(0),
        })
    }
}

impl RequestTrace {
    /// Returns the context for the handler: the parent of its spans is that of the request.
    pub(crate) fn context(&self) -> SpanContext {
        self.context
    }

    /// Returns the `tracestate` that is passed on.
    pub(crate) fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns the identifier of the trace: 32 hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        format!("{:032x}", self.context.trace.0)
    }

    /// Reports whether spans are recorded.
    pub(crate) fn is_sampled(&self) -> bool {
        self.context.is_sampled
    }

    /// Begins a span below another, or below that of the request.
    pub(crate) fn span(
        self: &Arc<Self>,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: Option<SpanContext>,
    ) -> Option<ActiveSpan> {
        if !self.is_sampled() {
            return None;
        }
        if self.spans.fetch_add(1, Ordering::Relaxed) >= MAX_SPANS {
            self.tracer.queue.drop_spans(1);
            return None;
        }
        Some(ActiveSpan {
            trace: self.clone(),
            id: SpanId::random(),
            parent: parent.map_or(self.context.span, |parent| parent.span),
            name: name.into(),
            kind,
            began: SystemTime::now(),
            attributes: Vec::new(),
            error: None,
        })
    }

    /// Ends the span of the request.
    pub(crate) fn finish(&self, name: String, attributes: Vec<Attribute>, error: Option<&str>) {
        if !self.is_sampled() {
            return;
        }
        self.tracer.queue.push(SpanMessage {
            parent_span_id: self.parent.map(SpanId::bytes).unwrap_or_default(),
            trace_state: self.state.clone().unwrap_or_default(),
            error: error.map(shortened),
            // The span's parent is in another process (OTLP, `SpanFlags`).
            flags: 0x100 | u32::from(self.parent.is_some()) << 9 | 1,
            attributes: attributes.into_iter().map(|it| it.0).collect(),
            ..self.message(self.context.span, name, SpanKind::Server, self.began)
        });
    }

    fn message(&self, id: SpanId, name: String, kind: SpanKind, began: SystemTime) -> SpanMessage {
        let began = nanoseconds(began);
        SpanMessage {
            trace_id: self.context.trace.0.to_be_bytes().to_vec(),
            span_id: id.bytes(),
            name,
            kind: kind as u8,
            start_time_unix_nano: began,
            // The clock may have been set back.
            end_time_unix_nano: nanoseconds(SystemTime::now()).max(began),
            flags: 0x101,
            ..SpanMessage::default()
        }
    }
}

impl ActiveSpan {
    /// Returns the context for a system that this span sends a request to.
    pub(crate) fn context(&self) -> SpanContext {
        SpanContext {
            span: self.id,
            ..self.trace.context
        }
    }

    /// Adds an attribute.
    pub(crate) fn set(&mut self, attribute: Attribute) {
        self.attributes.push(attribute.0);
    }

    /// Marks the span as failed, for a reason that is known before it happens.
    pub(crate) fn fail(&mut self, kind: &str) {
        self.set(Attribute::text("error.type", kind.as_bytes()));
        self.error = Some(kind.to_owned());
    }
}

impl Drop for ActiveSpan {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name).into_owned();
        let message = self.trace.message(self.id, name, self.kind, self.began);
        self.trace.tracer.queue.push(SpanMessage {
            parent_span_id: self.parent.bytes(),
            trace_state: self.trace.state.clone().unwrap_or_default(),
            attributes: std::mem::take(&mut self.attributes),
            error: self.error.take().as_deref().map(shortened),
            ..message
        });
    }
}

impl SpanId {
    fn bytes(self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

fn shortened(why: &str) -> String {
    printable::front(why, MAX_VALUE_BYTES).to_owned()
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
