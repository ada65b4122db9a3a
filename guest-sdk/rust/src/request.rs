//! The request as a type of the `http` crate.

use std::io;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Uri, Version};

use crate::environ::Environ;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::params::Params;
use crate::percent::encode;

/// A request whose body is read from the client as it arrives.
///
/// Its URI is the path and the query as the client sent them. Its [`Environ`] is an extension of
/// the request; [`RequestExt`] returns it.
pub type Request = http::Request<Input>;

/// Methods of a [`Request`] for handlers.
pub trait RequestExt {
    /// Returns the request's environ.
    ///
    /// # Panics
    /// Panics if the request's extensions were cleared.
    fn environ(&self) -> &Environ;

    /// Returns the value of a segment of the route: `id` of `users/[id].wasm`.
    fn route(&self, name: &str) -> Option<String>;

    /// Returns the decoded query string.
    fn query(&self) -> Params;

    /// Reads the body as a form.
    ///
    /// # Errors
    /// Fails as [`Params::read_form`] does.
    fn form(&mut self) -> io::Result<Params>;
}

impl RequestExt for Request {
    fn environ(&self) -> &Environ {
        match self.extensions().get() {
            Some(environ) => environ,
            None => panic!("the environ was removed from the request's extensions"),
        }
    }

    fn route(&self, name: &str) -> Option<String> {
        self.environ().route(name)
    }

    fn query(&self) -> Params {
        Params::parse(self.uri().query().unwrap_or_default().as_bytes())
    }

    fn form(&mut self) -> io::Result<Params> {
        Params::read_form(self.body_mut())
    }
}

/// Converts an environ to a request. It requests all variables, since it can't know which fields
/// the handler will use.
pub(crate) fn from_environ(environ: Environ) -> Result<Request> {
    let mut request = Request::new(environ.input());
    let mut target = Target::default();
    for (name, value) in environ.variables() {
        match &*name {
            "REQUEST_METHOD" => {
                *request.method_mut() = Method::from_bytes(&value).map_err(Error::returned)?;
            }
            "SERVER_PROTOCOL" => *request.version_mut() = version(&value),
            "REQUEST_URI" => target.sent = value,
            "SCRIPT_NAME" => target.script_name = value,
            "PATH_INFO" => target.path_info = value,
            "QUERY_STRING" => target.query = value,
            _ => {
                if let Some(field) = field(&name, &value) {
                    request.headers_mut().append(field.0, field.1);
                }
            }
        }
    }
    *request.uri_mut() = target.uri()?;
    request.extensions_mut().insert(environ);
    Ok(request)
}

fn version(protocol: &[u8]) -> Version {
    match protocol {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/2" | b"HTTP/2.0" => Version::HTTP_2,
        _ => Version::HTTP_11,
    }
}

/// Returns the field that a variable represents, if any: `HTTP_ACCEPT_LANGUAGE` is
/// `accept-language`.
fn field(variable: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = match variable {
        "CONTENT_TYPE" | "CONTENT_LENGTH" => variable,
        _ => variable.strip_prefix("HTTP_")?,
    };
    let name = HeaderName::from_bytes(name.replace('_', "-").as_bytes()).ok()?;
    Some((name, HeaderValue::from_bytes(value).ok()?))
}

/// The variables from which the URI is built.
#[derive(Default)]
struct Target {
    sent: Vec<u8>,
    script_name: Vec<u8>,
    path_info: Vec<u8>,
    query: Vec<u8>,
}

impl Target {
    /// Returns the request-target as it was sent, if the `http` crate accepts it. Otherwise builds
    /// it from the decoded path and the query.
    fn uri(self) -> Result<Uri> {
        if !self.sent.is_empty()
            && let Ok(uri) = Uri::try_from(self.sent)
        {
            return Ok(uri);
        }
        let mut target = encode(&[self.script_name, self.path_info].concat(), PATH_SIGNS);
        if target.is_empty() {
            target.push('/');
        }
        if !self.query.is_empty() {
            target.push('?');
            target.push_str(&encode(&self.query, QUERY_SIGNS));
        }
        Uri::try_from(target).map_err(Error::returned)
    }
}

/// The characters of a path that need no escape (RFC 3986, section 3.3), in addition to letters and
/// digits.
const PATH_SIGNS: &[u8] = b"/-._~!$&'()*+,;=:@";

/// The characters of a query that need no escape (RFC 3986, section 3.4). They include `%`, since
/// the query is still encoded.
const QUERY_SIGNS: &[u8] = b"/-._~!$&'()*+,;=:@?%";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str) -> Request {
        from_environ(Environ::builder().path(target).build()).unwrap()
    }

    #[test]
    fn a_request_has_what_the_environ_has() {
        let environ = Environ::builder()
            .method("PUT")
            .path("/users/7?sort=up%26down")
            .header("Accept-Language", "de")
            .header("Content-Type", "text/plain")
            .route("id", "7")
            .body("text")
            .build();
        let request = from_environ(environ).unwrap();
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(request.uri(), "/users/7?sort=up%26down");
        assert_eq!(request.version(), Version::HTTP_11);
        assert_eq!(request.headers()["accept-language"], "de");
        assert_eq!(request.headers()["content-type"], "text/plain");
        assert_eq!(request.headers()["content-length"], "4");
        assert_eq!(request.query().get("sort"), Some("up&down"));
        assert_eq!(request.route("id").unwrap(), "7");
        assert_eq!(io::read_to_string(request.into_body()).unwrap(), "text");
    }

    #[test]
    fn the_target_is_as_it_was_sent() {
        assert_eq!(request("/a%2Fb").uri().path(), "/a%2Fb");
        assert_eq!(request("*").uri(), "*");
    }

    #[test]
    fn without_request_uri_the_target_is_put_together() {
        let environ = Environ::builder()
            .path("/caf%C3%A9/100%25?q=%20")
            .mounted_at("/caf%C3%A9")
            .without("REQUEST_URI")
            .build();
        assert_eq!(
            from_environ(environ).unwrap().uri(),
            "/caf%C3%A9/100%25?q=%20"
        );
        let environ = Environ::builder()
            .variable("PATH_INFO", "")
            .without("REQUEST_URI")
            .build();
        assert_eq!(from_environ(environ).unwrap().uri(), "/");
    }

    #[test]
    fn a_form_is_read_from_the_body() {
        let environ = Environ::builder()
            .method("POST")
            .body("name=Ada+L&name=x")
            .build();
        let mut request = from_environ(environ).unwrap();
        assert_eq!(request.form().unwrap().get("name"), Some("Ada L"));
    }
}
