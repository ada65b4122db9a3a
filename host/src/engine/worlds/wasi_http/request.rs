//! Converts a request to `wasi:http`: method, URL, fields, and a body that is read from the
//! exchange.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body::{Body, Frame};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use wasmtime_wasi_http::Error;

use crate::gateway::{Environ, Exchange, InputError};

/// The maximum size of a body block for a guest's stream, in bytes.
const BLOCK_BYTES: usize = 64 * 1024;

/// The characters that must be escaped in a path or query (RFC 3986 section 3.3): clients send them
/// unescaped, and the parser of `http` rejects them.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Returns the request with its whole path: the part that selected the handler is not separate.
pub(super) fn from_environ(
    environ: &Environ,
    exchange: Arc<Exchange>,
) -> wasmtime::Result<Request<RequestBody>> {
    let head = &environ.head;
    let mut request = Request::new(RequestBody { exchange });
    *request.method_mut() = Method::from_bytes(head.method().as_bytes())?;
    *request.uri_mut() = uri(environ)?;
    let fields = request.headers_mut();
    for (name, value) in environ.fields() {
        // Fields that passed the server's checks pass these. The bindings omit connection fields.
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(&value),
        ) else {
            continue;
        };
        fields.try_append(name, value)?;
    }
    Ok(request)
}

fn uri(environ: &Environ) -> wasmtime::Result<Uri> {
    let head = &environ.head;
    let mut target = percent_encode(head.path(), ESCAPED).to_string();
    if !head.query().is_empty() {
        target.push('?');
        // In the query, a question mark is an ordinary character (RFC 3986 section 3.4).
        const IN_QUERY: &AsciiSet = &ESCAPED.remove(b'?');
        target.extend(percent_encode(head.query(), IN_QUERY));
    }
    let uri = Uri::builder()
        .scheme(environ.scheme.as_str())
        .authority(authority(environ)?)
        .path_and_query(PathAndQuery::try_from(target)?)
        .build()?;
    Ok(uri)
}

/// Returns the authority of the request: from a trusted proxy, from the request itself, or else the
/// address that received it.
fn authority(environ: &Environ) -> wasmtime::Result<Authority> {
    let named = environ.host.as_deref().unwrap_or(environ.head.authority());
    match Authority::try_from(named) {
        Ok(authority) => Ok(authority),
        Err(_) => Ok(Authority::try_from(environ.local.to_string())?),
    }
}

/// A request body, read from the exchange as it arrives.
pub(super) struct RequestBody {
    exchange: Arc<Exchange>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.exchange
            .poll_read(BLOCK_BYTES, context)
            .map(|result| match result {
                Ok(block) if block.is_empty() => None,
                Ok(block) => Some(Ok(Frame::data(block.into()))),
                Err(error) => Some(Err(error_code(error))),
            })
    }
}

fn error_code(error: InputError) -> Error {
    match error {
        InputError::Disconnected => Error::ConnectionTerminated,
        InputError::TimedOut => Error::ConnectionReadTimeout,
        InputError::TooLarge => Error::HttpRequestBodySize(None),
        InputError::Malformed => Error::HttpProtocolError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::Scheme;
    use crate::http1::{Limits, RequestHead};

    fn request(text: &str, host: Option<&[u8]>) -> Request<RequestBody> {
        let head = RequestHead::parse(text.as_bytes(), &Limits::default());
        let (head, _) = head.expect("no rejection").expect("a whole head");
        let environ = Environ {
            scheme: Scheme::Https,
            host: host.map(<[u8]>::to_vec),
            ..Environ::local(Arc::new(head))
        };
        from_environ(&environ, Arc::new(Exchange::new(false))).expect(text)
    }

    #[test]
    fn any_target_is_a_url() {
        for (target, path) in [
            ("/", "/"),
            ("/a/b?c=d&e?", "/a/b?c=d&e?"),
            ("/%2F%zz", "/%2F%zz"),
            ("/a|b\"<>{}`^\\", "/a%7Cb%22%3C%3E%7B%7D%60%5E%5C"),
            ("/a?<\"{|}>", "/a?%3C%22%7B%7C%7D%3E"),
            ("http://other.example/x", "/x"),
        ] {
            let request = request(
                &format!("GET {target} HTTP/1.1\r\nHost: a:80\r\n\r\n"),
                None,
            );
            let got = request.uri().path_and_query().expect("a path");
            assert_eq!(got.as_str(), path, "{target}");
        }
    }

    #[test]
    fn the_authority_is_who_was_asked() {
        let authority = |text: &str, host| {
            let request = request(text, host);
            request.uri().authority().expect("an authority").to_string()
        };
        let named = "GET / HTTP/1.1\r\nHost: a.example:81\r\n\r\n";
        assert_eq!(authority(named, None), "a.example:81");
        assert_eq!(
            authority(named, Some(b"proxied.example")),
            "proxied.example"
        );
        assert_eq!(authority("GET / HTTP/1.0\r\n\r\n", None), "127.0.0.1:8000");
    }

    #[test]
    fn fields_and_method_are_as_they_were() {
        let request = request(
            "BREW / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: \u{e9}\r\n\r\n",
            None,
        );
        assert_eq!(request.method(), "BREW");
        let values: Vec<_> = request.headers().get_all("x").iter().collect();
        assert_eq!(values, [&b"1"[..], "\u{e9}".as_bytes()]);
    }
}
