//! The span of a request, with the names and attributes of OpenTelemetry's semantic conventions for
//! HTTP servers (version 1.23 and later).

use std::net::SocketAddr;

use super::record::{Line, Record};
use crate::http1::{RequestHead, split_authority};
use crate::registry::Target;
use crate::traces::{Attribute, RequestTrace};

/// The methods that may be the value of an attribute (RFC 9110, RFC 5789). Clients can choose any
/// others.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// Ends the span of a request that is over.
pub(super) fn finish(trace: &RequestTrace, record: &Record, client: SocketAddr) {
    let Line::Head(head) = record.line() else {
        return;
    };
    if !trace.is_sampled() {
        return;
    }
    let method = METHODS.into_iter().find(|method| *method == head.method());
    let route = match &record.target {
        Some(Target::Handler(handler)) => Some(handler.route.to_string()),
        Some(Target::Pending(_)) | None => None,
    };
    let name = match (method.unwrap_or("HTTP"), &route) {
        (method, Some(route)) => format!("{method} {route}"),
        (method, None) => method.to_owned(),
    };
    let text = |key: &str, value: &str| Attribute::text(key, value.as_bytes());
    let mut attributes = vec![
        text("http.request.method", method.unwrap_or("_OTHER")),
        Attribute::text("url.path", head.path()),
        text("url.scheme", record.scheme.as_str()),
        text("network.protocol.name", "http"),
        text(
            "network.protocol.version",
            head.version().as_str().trim_start_matches("HTTP/"),
        ),
        text("client.address", &client.ip().to_canonical().to_string()),
        Attribute::number("http.response.body.size", record.body_bytes()),
    ];
    if method.is_none() {
        attributes.push(text("http.request.method_original", head.method()));
    }
    if !head.query().is_empty() {
        attributes.push(Attribute::text("url.query", head.query()));
    }
    add_server(&mut attributes, head);
    if let Some(agent) = head.field("User-Agent") {
        attributes.push(Attribute::text("user_agent.original", agent));
    }
    if let Some(route) = &route {
        attributes.push(text("http.route", route));
        attributes.push(text("wasgi.handler", record.handler_name()));
    }
    if let Some(id) = &record.id {
        attributes.push(text("wasgi.request_id", id.as_str()));
    }
    if record.status != 0 {
        let status = Attribute::number("http.response.status_code", record.status.into());
        attributes.push(status);
    }
    let error = match (record.cut, record.status) {
        (Some(why), _) => Some(why.to_owned()),
        (None, status @ 500..) => Some(status.to_string()),
        (None, _) => None,
    };
    if let Some(error) = &error {
        attributes.push(text("error.type", error));
    }
    trace.finish(name, attributes, error.as_deref());
}

/// Adds the host and port that the client has requested.
fn add_server(attributes: &mut Vec<Attribute>, head: &RequestHead) {
    if let Some((host, port)) = split_authority(head.authority()) {
        attributes.push(Attribute::text("server.address", host));
        if let Some(port) = port {
            attributes.push(Attribute::number("server.port", port.into()));
        }
    }
}
