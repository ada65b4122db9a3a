//! The span of a request to another host, with the names and attributes of OpenTelemetry's semantic
//! conventions for HTTP clients, and the context that the request carries.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode};

use crate::outbound::{Error, Target};
use crate::traces::{
    ActiveSpan, Attribute, RequestTrace, SpanContext, SpanKind, TRACEPARENT, TRACESTATE,
};

/// The trace of a handler's requests to other hosts.
#[derive(Clone, Debug)]
pub(in crate::engine) struct OutboundTrace {
    trace: Arc<RequestTrace>,
    /// The span of the guest.
    parent: Option<SpanContext>,
}

impl OutboundTrace {
    pub(in crate::engine) fn new(trace: Arc<RequestTrace>, parent: Option<SpanContext>) -> Self {
        Self { trace, parent }
    }

    /// Begins the span of a request, and adds the context to its fields. A context that the handler
    /// has made itself is kept. One that it has copied from its own request is replaced.
    pub(super) fn begin<B>(&self, request: &mut Request<B>, target: &Target) -> Option<ActiveSpan> {
        let method = match request.method().as_str() {
            "GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "OPTIONS" | "PATCH" | "TRACE" => {
                request.method().to_string()
            }
            _ => "HTTP".to_owned(),
        };
        let span = self.trace.span(method, SpanKind::Client, self.parent);
        let own = self.trace.context();
        let context = span.as_ref().map_or(own, ActiveSpan::context);
        let given = request.headers().get(TRACEPARENT);
        let given = given.and_then(|value| SpanContext::parse(value.as_bytes()));
        if given.is_none_or(|given| given.span == own.span) {
            let fields = request.headers_mut();
            fields.remove(TRACESTATE);
            for (name, value) in [
                (TRACEPARENT, Some(context.to_string())),
                (TRACESTATE, self.trace.state().map(str::to_owned)),
            ] {
                let value = value.and_then(|value| HeaderValue::try_from(value).ok());
                if let Some(value) = value {
                    // A full set of fields is sent as it is.
                    let _ = fields.try_insert(name, value);
                }
            }
        }
        let mut span = span?;
        let scheme = if target.is_https { "https" } else { "http" };
        let (host, port) = (&target.host, target.port);
        let path = request.uri().path();
        // The query may contain a secret.
        let url = format!("{scheme}://{host}:{port}{path}");
        for (key, value) in [
            ("http.request.method", request.method().as_str()),
            ("url.full", &*url),
            ("server.address", &*host.to_string()),
            ("network.protocol.name", "http"),
        ] {
            span.set(Attribute::text(key, value.as_bytes()));
        }
        span.set(Attribute::number("server.port", port.into()));
        Some(span)
    }
}

/// Ends the span of a request with its result.
pub(super) fn end<B>(span: Option<ActiveSpan>, result: &Result<Response<B>, Error>) {
    let Some(mut span) = span else { return };
    match result {
        Ok(response) => {
            let status: StatusCode = response.status();
            let number = status.as_u16();
            span.set(Attribute::number(
                "http.response.status_code",
                number.into(),
            ));
            if status.is_client_error() || status.is_server_error() {
                span.fail(status.as_str());
            }
        }
        Err(error) => span.fail(error.kind()),
    }
}
