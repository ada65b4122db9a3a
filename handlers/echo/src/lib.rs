//! Echoes the request: returns its body or, if there is none, its method and fields, as HTML if the
//! client accepts that and as text otherwise.

use std::fmt::Write;

use wasgi_sdk::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use wasgi_sdk::http::{Method, Response};
use wasgi_sdk::{Body, Request, Result, escape};

/// The media type of the response if the request has none.
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

#[wasgi_sdk::handler]
fn echo(request: Request) -> Result<Response<Body>> {
    match *request.method() {
        Method::POST | Method::PUT | Method::PATCH => body_of(request),
        _ => head_of(&request),
    }
}

/// Returns the body as it arrives: the server sends each block before it reads the next, so a body
/// of any size needs the memory of one block.
fn body_of(request: Request) -> Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert("Echo-Method", HeaderValue::from_str(head.method.as_str())?);
    let content_type = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(BYTES);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if let Some(length) = head.headers.get(CONTENT_LENGTH) {
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, length.clone());
    }
    Ok(response)
}

fn head_of(request: &Request) -> Result<Response<Body>> {
    let mut text = format!(
        "{} {} {:?}\n",
        request.method(),
        request.uri(),
        request.version()
    );
    for (name, value) in request.headers() {
        writeln!(
            text,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        )?;
    }
    let accept = request.headers().get(ACCEPT);
    let wants_page =
        accept.is_some_and(|accept| accept.to_str().is_ok_and(|it| it.contains("text/html")));
    let (text, content_type) = if wants_page {
        (page(&text), HTML)
    } else {
        (text, TEXT)
    };
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    Ok(response)
}

fn page(text: &str) -> String {
    let body = format!(
        "<h1>The request</h1>\n\
         <p class=\"lead\">What came, as it came. A body that is sent here comes back.</p>\n\
         <pre tabindex=\"0\" role=\"group\" aria-label=\"The request\">{}</pre>",
        escape(text)
    );
    let page = include_str!("../../_page.html").replace("{title}", "the request");
    page.replace("{body}", &body)
}

#[cfg(test)]
mod tests {
    use wasgi_sdk::{Environ, InputError, testing};

    use super::*;

    #[test]
    fn a_body_comes_back_as_it_was() {
        let bytes: Vec<u8> = (0..=255).collect();
        for method in ["POST", "PUT", "PATCH"] {
            let builder = Environ::builder()
                .method(method)
                .header("Content-Type", "image/png");
            let response = testing::call(echo, builder.body(&bytes).body(&bytes).build());
            assert_eq!(response.status, "200 OK");
            assert_eq!(response.blocks, [&*bytes, &*bytes]);
            assert_eq!(response.header("content-type"), Some("image/png"));
            assert_eq!(response.header("content-length"), Some("512"));
            assert_eq!(response.header("echo-method"), Some(method));
        }
    }

    #[test]
    fn a_body_of_unknown_length_has_none_when_it_comes_back() {
        let chunked = Environ::builder()
            .method("POST")
            .body("a")
            .without("CONTENT_LENGTH");
        let response = testing::call(echo, chunked.build());
        assert_eq!(response.text(), "a");
        assert_eq!(response.header("content-length"), None);
        assert_eq!(
            response.header("content-type"),
            Some("application/octet-stream")
        );
    }

    #[test]
    fn a_request_without_a_body_is_told_as_text() {
        for method in ["GET", "DELETE"] {
            let environ = Environ::builder().method(method).path("/echo?a=b");
            let response = testing::call(echo, environ.header("Accept", "*/*").build());
            let text = response.text();
            assert!(
                text.starts_with(&format!("{method} /echo?a=b HTTP/1.1\n")),
                "{text}"
            );
            assert!(text.contains("accept: */*\n"), "{text}");
        }
    }

    #[test]
    fn a_browser_gets_a_page_with_a_title() {
        let environ = Environ::builder().path("/echo?<b>");
        let response = testing::call(echo, environ.header("Accept", "text/html,*/*").build());
        assert_eq!(
            response.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        let text = response.text();
        assert!(text.contains("<title>wasgi: the request</title>"), "{text}");
        assert!(!text.contains("<b>"), "{text}");
    }

    #[test]
    fn a_body_that_breaks_off_is_an_exception() {
        let broken = Environ::builder().method("POST").body("half");
        let response = testing::call(echo, broken.body_fails(InputError::Disconnected).build());
        assert_eq!(response.text(), "half");
        assert!(
            response.exceptions[0]
                .message
                .contains("client disconnected")
        );
    }
}
