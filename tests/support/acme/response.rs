//! The responses of the stand-in.

use serde_json::{Value, json};

/// The response to a request.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) location: Option<String>,
    pub(super) retry_after: Option<&'static str>,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Response {
    pub(super) fn json(status: u16, body: &Value) -> Response {
        Response {
            status,
            location: None,
            retry_after: None,
            content_type: "application/json",
            body: body.to_string(),
        }
    }

    pub(super) fn at(self, location: String) -> Response {
        Response {
            location: Some(location),
            ..self
        }
    }

    pub(super) fn problem(status: u16, kind: &str, detail: &str) -> Response {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        let body = json!({"type": kind, "detail": detail, "status": status});
        Response {
            content_type: "application/problem+json",
            ..Response::json(status, &body)
        }
    }
}
