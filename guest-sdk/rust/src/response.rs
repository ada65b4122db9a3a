//! The response as a type of the `http` crate.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};

use crate::body::{Body, IntoBody};
use crate::error::Result;
use crate::start_response::StartResponse;

/// A response with a body of any kind.
pub type Response = http::Response<Body>;

/// A return type of a handler: a response of the `http` crate, or only a body, which is sent with
/// status 200.
pub trait IntoResponse {
    /// Converts the value to a response. Adds a `Content-Type` to text if there is none.
    fn into_response(self) -> Response;
}

impl<B: IntoBody> IntoResponse for http::Response<B> {
    fn into_response(mut self) -> Response {
        if let Some(content_type) = B::CONTENT_TYPE {
            let value = HeaderValue::from_static(content_type);
            self.headers_mut().entry(CONTENT_TYPE).or_insert(value);
        }
        self.map(IntoBody::into_body)
    }
}

impl<B: IntoBody> IntoResponse for B {
    fn into_response(self) -> Response {
        http::Response::new(self).into_response()
    }
}

/// Starts the response and returns its body.
pub(crate) fn send(response: Response, start_response: &StartResponse) -> Result<Body> {
    let (head, body) = response.into_parts();
    let status = format!("{} {}", head.status.as_str(), reason(head.status));
    let fields = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    start_response.call_bytes(&status, fields)?;
    Ok(body)
}

/// Returns the reason phrase of a status (RFC 9110 section 15).
fn reason(status: StatusCode) -> &'static str {
    match status {
        // For these statuses the `http` crate has the names of RFC 7231 and RFC 4918.
        StatusCode::PAYLOAD_TOO_LARGE => "Content Too Large",
        StatusCode::UNPROCESSABLE_ENTITY => "Unprocessable Content",
        _ => status.canonical_reason().unwrap_or("Unknown"),
    }
}

#[cfg(test)]
mod tests {
    use http::{Response, StatusCode};

    use crate::{Environ, Html, Request, ResponseOrError, testing};

    fn sent<R: ResponseOrError>(make: impl Fn() -> R) -> testing::Response {
        testing::call(|_: Request| make(), Environ::builder().build())
    }

    #[test]
    fn status_fields_and_body_are_sent() {
        let response = sent(|| {
            Response::builder()
                .status(StatusCode::CREATED)
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2")
                .body("made")
                .unwrap()
        });
        assert_eq!(response.status, "201 Created");
        assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(response.text(), "made");
    }

    #[test]
    fn a_body_alone_is_a_response() {
        assert_eq!(
            sent(|| "text").header("content-type"),
            Some("text/plain; charset=utf-8")
        );
        assert_eq!(
            sent(|| Html("<p>")).header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert_eq!(sent(|| vec![1, 2]).header("content-type"), None);
        assert_eq!(sent(|| vec![1, 2]).status, "200 OK");
    }

    #[test]
    fn a_content_type_is_not_replaced() {
        let response = sent(|| {
            Response::builder()
                .header("content-type", "text/css")
                .body("a{}")
        });
        assert_eq!(response.all("content-type"), ["text/css"]);
    }

    #[test]
    fn a_status_without_a_reason_has_one() {
        let response = sent(|| Response::builder().status(299).body(()).unwrap());
        assert_eq!(response.status, "299 Unknown");
    }
}
