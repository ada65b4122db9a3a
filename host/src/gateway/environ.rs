//! The request as a handler sees it: CGI variables and `wsgi.*` (rules E1 to E5).
//!
//! Variables are created on demand: most handlers read two or three of some thirty.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::request_id::{REQUEST_ID_FIELD, RequestId};
use crate::http1::{RequestBody, RequestHead, Version, split_authority};
use crate::traces::{RequestTrace, TRACEPARENT, TRACESTATE};

/// The protocol by which the client reached the server: `wsgi.url_scheme`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Unencrypted.
    Http,
    /// Through TLS.
    Https,
}

impl Scheme {
    /// Returns the scheme as in a URL, before the colon.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// One request with the results of routing.
#[derive(Clone, Debug)]
pub struct Environ {
    /// The request line and fields.
    pub head: Arc<RequestHead>,
    /// The part of the path that selected the handler, decoded; empty for the root (E3).
    pub script_name: Vec<u8>,
    /// The rest of the path, decoded; empty, or begins with a slash (E3).
    pub path_info: Vec<u8>,
    /// The values of the route's `[name]` segments, decoded.
    pub args: Vec<(String, Vec<u8>)>,
    /// The client's address.
    pub peer: SocketAddr,
    /// The server's address that the client connected to.
    pub local: SocketAddr,
    /// The scheme.
    pub scheme: Scheme,
    /// The host that the client requested, if a trusted proxy reports it. Otherwise the request's
    /// own host applies.
    pub host: Option<Vec<u8>>,
    /// The identifier of the request, if each request has one. It takes the place of the client's
    /// `X-Request-Id`.
    pub request_id: Option<RequestId>,
    /// The trace of the request, if traces are recorded. Its context takes the place of the
    /// client's `traceparent` and `tracestate`.
    pub trace: Option<Arc<RequestTrace>>,
    /// Whether the handler's instance serves only this request: `wsgi.run_once`.
    pub run_once: bool,
}

/// The variables of every request, in the order of `variables`.
const ALWAYS: [&str; 18] = [
    "REQUEST_METHOD",
    "SCRIPT_NAME",
    "PATH_INFO",
    "QUERY_STRING",
    "REQUEST_URI",
    "RAW_URI",
    "SERVER_NAME",
    "SERVER_PORT",
    "SERVER_PROTOCOL",
    "SERVER_SOFTWARE",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "wsgi.version",
    "wsgi.url_scheme",
    "wsgi.multithread",
    "wsgi.multiprocess",
    "wsgi.run_once",
    "wsgi.input_terminated",
];

/// The variables that a request has only in some cases.
const SOMETIMES: [&str; 7] = [
    "CONTENT_TYPE",
    "CONTENT_LENGTH",
    "HTTP_HOST",
    "HTTP_X_REQUEST_ID",
    "HTTP_TRACEPARENT",
    "HTTP_TRACESTATE",
    "wsgiorg.routing_args",
];

/// The fields that the server may give in place of the client's, and their variables without
/// `HTTP_`.
const REPLACED_FIELDS: [(&str, &str); 3] = [
    (REQUEST_ID_FIELD, "X_REQUEST_ID"),
    (TRACEPARENT, "TRACEPARENT"),
    (TRACESTATE, "TRACESTATE"),
];

/// The prefix of the variables for a route's bound segments.
const ROUTE_PREFIX: &str = "wasgi.route.";

impl Environ {
    /// Creates the environ of a request that comes from this machine: by plain HTTP, for an
    /// instance that serves only this request. The handler is mounted at the root, and PATH_INFO is
    /// the encoded path.
    pub fn local(head: Arc<RequestHead>) -> Self {
        Self {
            script_name: Vec::new(),
            path_info: head.path().to_vec(),
            head,
            args: Vec::new(),
            peer: (Ipv4Addr::LOCALHOST, 50_000).into(),
            local: (Ipv4Addr::LOCALHOST, 8000).into(),
            scheme: Scheme::Http,
            host: None,
            request_id: None,
            trace: None,
            run_once: true,
        }
    }

    /// Returns the value of one variable, as bytes (E4), or `None` if the request has no such
    /// variable.
    pub fn get(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        if let Some(field) = name.strip_prefix("HTTP_") {
            return match (field, self.head.target_authority()) {
                ("HOST", Some(authority)) => Some(Cow::Borrowed(authority)),
                _ => match self.replaced(field) {
                    Some(value) => value,
                    None => self.field(field),
                },
            };
        }
        let head = &self.head;
        Some(match name {
            "REQUEST_METHOD" => text(head.method()),
            "SCRIPT_NAME" => Cow::Borrowed(&*self.script_name),
            "PATH_INFO" => Cow::Borrowed(&*self.path_info),
            "QUERY_STRING" => Cow::Borrowed(head.query()),
            "REQUEST_URI" | "RAW_URI" => text(head.target()),
            "SERVER_NAME" => self.server_name(),
            "SERVER_PORT" => owned(self.local.port().to_string()),
            "SERVER_PROTOCOL" => text(match head.version() {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
            }),
            "SERVER_SOFTWARE" => text(crate::SERVER_SOFTWARE),
            "REMOTE_ADDR" => owned(self.peer.ip().to_canonical().to_string()),
            "REMOTE_PORT" => owned(self.peer.port().to_string()),
            "CONTENT_TYPE" => Cow::Borrowed(head.field("content-type")?),
            "CONTENT_LENGTH" => match head.body() {
                RequestBody::Length(length) => owned(length.to_string()),
                RequestBody::None | RequestBody::Chunked => return None,
            },
            "wsgi.version" => text("1.0"),
            "wsgi.url_scheme" => text(self.scheme.as_str()),
            // Like a process, an instance has its own memory and serves one request at a time:
            // others run concurrently, and none shares its memory.
            "wsgi.multithread" => text("false"),
            "wsgi.multiprocess" => text("true"),
            // An instance that serves one request is like a CGI process: it gets no second call.
            "wsgi.run_once" => text(if self.run_once { "true" } else { "false" }),
            // A body without a length can be read to its end (I2).
            "wsgi.input_terminated" => text("true"),
            "wsgiorg.routing_args" if !self.args.is_empty() => owned(self.routing_args()),
            _ => {
                let wanted = name.strip_prefix(ROUTE_PREFIX)?;
                let (_, value) = self.args.iter().find(|(name, _)| name == wanted)?;
                Cow::Borrowed(&**value)
            }
        })
    }

    /// Returns the value that the server gives to a field in place of the client's, which may be
    /// none; `None` for any other field. `suffix` is the name of its variable without `HTTP_`.
    fn replaced(&self, suffix: &str) -> Option<Option<Cow<'_, [u8]>>> {
        match (suffix, &self.request_id, &self.trace) {
            ("X_REQUEST_ID", Some(id), _) => Some(Some(text(id.as_str()))),
            ("TRACEPARENT", _, Some(trace)) => Some(Some(owned(trace.context().to_string()))),
            ("TRACESTATE", _, Some(trace)) => Some(trace.state().map(text)),
            _ => None,
        }
    }

    /// Returns the fields of the request, with those that the server gives in place of the
    /// client's.
    pub fn fields(&self) -> impl Iterator<Item = (&str, Cow<'_, [u8]>)> {
        let replaced = REPLACED_FIELDS
            .into_iter()
            .filter_map(|(field, suffix)| Some((field, self.replaced(suffix)?)));
        let replaced: Vec<_> = replaced.collect();
        let names: Vec<&str> = replaced.iter().map(|(name, _)| *name).collect();
        let is_kept = move |name: &str| !names.iter().any(|own| name.eq_ignore_ascii_case(own));
        let sent = self.head.fields().filter(move |(name, _)| is_kept(name));
        let sent = sent.map(|(name, value)| (name, Cow::Borrowed(value)));
        sent.chain(
            replaced
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?))),
        )
    }

    /// Returns every variable with its value, each name once.
    pub fn variables(&self) -> Vec<(String, Cow<'_, [u8]>)> {
        let mut variables = Vec::with_capacity(ALWAYS.len() + 16);
        for name in ALWAYS.iter().chain(&SOMETIMES) {
            if let Some(value) = self.get(name) {
                variables.push(((*name).to_owned(), value));
            }
        }
        for (name, value) in &self.args {
            variables.push((format!("{ROUTE_PREFIX}{name}"), Cow::Borrowed(&**value)));
        }
        let fields_from = variables.len();
        // Each field is processed once, regardless of the number of fields: a handler may request
        // all variables again and again.
        let names = variables.iter().map(|(name, _)| name.clone());
        let mut places: HashMap<String, usize> = names.zip(0..).collect();
        for (name, value) in self.head.fields() {
            let Some(variable) = variable_name(name) else {
                continue;
            };
            if self
                .replaced(variable.trim_start_matches("HTTP_"))
                .is_some()
            {
                continue;
            }
            match places.get(&variable) {
                Some(&place) if place < fields_from => {}
                Some(&place) => {
                    if let Some((name, before)) = variables.get_mut(place) {
                        join(before.to_mut(), name, value);
                    }
                }
                None => {
                    places.insert(variable.clone(), variables.len());
                    variables.push((variable, Cow::Borrowed(value)));
                }
            }
        }
        variables
    }

    /// Returns the value of the fields that an `HTTP_` variable stands for, with repeated fields
    /// joined (E2).
    ///
    /// `suffix` is the variable's name without `HTTP_`.
    fn field(&self, suffix: &str) -> Option<Cow<'_, [u8]>> {
        let mut values = self
            .head
            .fields()
            .filter(|(name, _)| stands_for(suffix, name))
            .map(|(_, value)| value);
        let first = values.next()?;
        let Some(second) = values.next() else {
            return Some(Cow::Borrowed(first));
        };
        let mut joined = first.to_vec();
        for value in std::iter::once(second).chain(values) {
            join(&mut joined, suffix, value);
        }
        Some(Cow::Owned(joined))
    }

    /// Returns the host that the request was directed to (RFC 3875 section 4.1.14), without its
    /// port, or the server's own address if the client names no host. A trusted proxy's value takes
    /// precedence.
    fn server_name(&self) -> Cow<'_, [u8]> {
        if let Some(host) = &self.host {
            return Cow::Borrowed(host);
        }
        match split_authority(self.head.authority()) {
            Some((host, _)) => Cow::Borrowed(host),
            None => owned(self.local.ip().to_canonical().to_string()),
        }
    }

    /// Formats `wsgiorg.routing_args`, a tuple of positional and named arguments, as JSON:
    /// `[[],{"id":"7"}]`. Bytes that are not UTF-8 are replaced; the `wasgi.route.*` variables have
    /// the original bytes.
    fn routing_args(&self) -> String {
        let positional = [(); 0];
        // Serializing text to memory doesn't fail.
        serde_json::to_string(&(positional, NamedArgs(&self.args))).unwrap_or_default()
    }
}

/// The arguments of a route as a map, in the order of the pattern.
struct NamedArgs<'a>(&'a [(String, Vec<u8>)]);

impl Serialize for NamedArgs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let args = self.0.iter();
        serializer.collect_map(args.map(|(name, value)| (name, String::from_utf8_lossy(value))))
    }
}

/// Appends a repeated field's value to the previous ones (E2). `name` is the variable's, with or
/// without `HTTP_`.
fn join(values: &mut Vec<u8>, name: &str, value: &[u8]) {
    // RFC 9110 section 5.3 joins with a comma; RFC 6265 section 5.4 separates cookies with a
    // semicolon.
    let separator: &[u8] = match name.strip_prefix("HTTP_").unwrap_or(name) {
        "COOKIE" => b"; ",
        _ => b",",
    };
    values.extend_from_slice(separator);
    values.extend_from_slice(value);
}

/// Returns the `HTTP_` variable of a request field, or `None` for a field without one (E2): a name
/// with an underscore, which would be confused with the one with a dash; `Proxy`, which programs
/// mistake for their own setting; and the two fields that have separate variables.
fn variable_name(field: &str) -> Option<String> {
    let suffix: String = field
        .bytes()
        .map(|byte| match byte {
            b'-' => '_',
            other => char::from(other.to_ascii_uppercase()),
        })
        .collect();
    stands_for(&suffix, field).then(|| format!("HTTP_{suffix}"))
}

/// Reports whether `HTTP_<suffix>` is the variable of the request field called `field`.
fn stands_for(suffix: &str, field: &str) -> bool {
    suffix.len() == field.len()
        && suffix
            .bytes()
            .zip(field.bytes())
            .all(|(variable, field)| match field {
                b'-' => variable == b'_',
                b'_' => false,
                other => variable == other.to_ascii_uppercase(),
            })
        && !matches!(suffix, "PROXY" | "CONTENT_TYPE" | "CONTENT_LENGTH")
}

fn text(text: &str) -> Cow<'_, [u8]> {
    Cow::Borrowed(text.as_bytes())
}

fn owned<'a>(text: String) -> Cow<'a, [u8]> {
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use super::*;
    use crate::http1::{self, Incoming};

    fn environ(request: &str) -> Environ {
        let now = Instant::now();
        let mut connection = http1::Connection::new(Arc::default(), now);
        connection.receive(request.as_bytes(), now);
        let Some(Incoming::Request(head)) = connection.next_request(now) else {
            panic!("no request: {request}");
        };
        Environ {
            script_name: b"/users/7".to_vec(),
            path_info: b"/a b".to_vec(),
            args: vec![("id".into(), b"7".to_vec())],
            peer: (Ipv4Addr::new(192, 0, 2, 1), 5000).into(),
            ..Environ::local(head)
        }
    }

    fn get(environ: &Environ, name: &str) -> Option<String> {
        environ
            .get(name)
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    }

    const REQUEST: &str = "POST /users/7/a%20b?q=1&r HTTP/1.1\r\n\
        Host: example.org:8080\r\n\
        Content-Type: text/plain\r\n\
        Content-Length: 5\r\n\
        Accept: a\r\n\
        accept: b\r\n\
        Cookie: c=1\r\n\
        Cookie: d=2\r\n\
        X-Real: yes\r\n\
        X_Real: no\r\n\
        Proxy: http://evil.example\r\n\r\n";

    #[test]
    fn e1_what_is_always_there() {
        let environ = environ(REQUEST);
        for (name, value) in [
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", "/users/7"),
            ("PATH_INFO", "/a b"),
            ("QUERY_STRING", "q=1&r"),
            ("REQUEST_URI", "/users/7/a%20b?q=1&r"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "8000"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_PORT", "5000"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "5"),
            ("wsgi.version", "1.0"),
            ("wsgi.url_scheme", "http"),
            ("wsgi.multithread", "false"),
            ("wsgi.multiprocess", "true"),
            ("wsgi.run_once", "true"),
            ("wsgiorg.routing_args", r#"[[],{"id":"7"}]"#),
            ("wasgi.route.id", "7"),
        ] {
            assert_eq!(get(&environ, name).as_deref(), Some(value), "{name}");
        }
    }

    #[test]
    fn e1_what_the_request_does_not_have_is_not_there() {
        let environ = environ("GET / HTTP/1.0\r\n\r\n");
        for name in [
            "CONTENT_TYPE",
            "CONTENT_LENGTH",
            "HTTP_HOST",
            "PATH",
            "wasgi.route.x",
            "",
        ] {
            assert_eq!(get(&environ, name), None, "{name}");
        }
        assert_eq!(get(&environ, "SERVER_NAME").as_deref(), Some("127.0.0.1"));
        assert_eq!(get(&environ, "QUERY_STRING").as_deref(), Some(""));
        assert_eq!(
            get(&environ, "SERVER_PROTOCOL").as_deref(),
            Some("HTTP/1.0")
        );
    }

    #[test]
    fn e2_fields_become_variables() {
        let environ = environ(REQUEST);
        assert_eq!(get(&environ, "HTTP_ACCEPT").as_deref(), Some("a,b"));
        assert_eq!(get(&environ, "HTTP_COOKIE").as_deref(), Some("c=1; d=2"));
        assert_eq!(get(&environ, "HTTP_X_REAL").as_deref(), Some("yes"));
        for name in [
            "HTTP_PROXY",
            "HTTP_CONTENT_TYPE",
            "HTTP_CONTENT_LENGTH",
            "HTTP_accept",
        ] {
            assert_eq!(get(&environ, name), None, "{name}");
        }
    }

    #[test]
    fn the_list_has_each_name_once_and_says_what_get_says() {
        let environ = environ(REQUEST);
        let variables = environ.variables();
        let mut names: Vec<_> = variables.iter().map(|(name, _)| name.clone()).collect();
        for (name, value) in &variables {
            assert_eq!(environ.get(name).as_ref(), Some(value), "{name}");
        }
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in [
            "HTTP_ACCEPT",
            "HTTP_X_REAL",
            "CONTENT_LENGTH",
            "wasgi.route.id",
        ] {
            assert!(names.iter().any(|one| one == name), "{name}");
        }
        assert!(!names.iter().any(|name| name.contains("PROXY")));
    }

    #[test]
    fn e2_repeated_fields_are_joined_in_the_list_as_they_are_alone() {
        let mut request = String::from("GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n");
        for number in 0..400 {
            let name = ["Cookie", "X-One", "X-Two"][number % 3];
            request.push_str(&format!("{name}: {number}\r\n"));
        }
        let environ = environ(&format!("{request}\r\n"));
        let variables = environ.variables();
        let fields = variables
            .iter()
            .filter(|(name, _)| name.starts_with("HTTP_"));
        let names: Vec<_> = fields.map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            ["HTTP_HOST", "HTTP_COOKIE", "HTTP_X_ONE", "HTTP_X_TWO"]
        );
        for (name, value) in &variables {
            assert_eq!(environ.get(name).as_ref(), Some(value), "{name}");
        }
    }

    #[test]
    fn routing_args_are_json_whatever_they_hold() {
        let mut environ = environ("GET / HTTP/1.0\r\n\r\n");
        environ.args = vec![
            ("a".into(), b"\"\\\n\xff".to_vec()),
            ("b".into(), b"".to_vec()),
        ];
        let json = get(&environ, "wsgiorg.routing_args");
        let expected = "[[],{\"a\":\"\\\"\\\\\\n\u{fffd}\",\"b\":\"\"}]";
        assert_eq!(json.as_deref(), Some(expected));
    }

    #[test]
    fn a_server_name_has_no_port() {
        for (host, name) in [("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a.b", "a.b")] {
            let environ = environ(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!(get(&environ, "SERVER_NAME").as_deref(), Some(name));
        }
    }

    #[test]
    fn the_host_of_the_target_takes_precedence_over_the_host_field() {
        for (request, host) in [
            ("GET http://a:81/ HTTP/1.1\r\nHost: b\r\n\r\n", Some("a:81")),
            ("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", Some("a")),
            ("GET http://a/ HTTP/1.0\r\n\r\n", Some("a")),
            ("GET / HTTP/1.1\r\nHost: b\r\n\r\n", Some("b")),
            ("GET / HTTP/1.0\r\n\r\n", None),
        ] {
            let environ = environ(request);
            assert_eq!(get(&environ, "HTTP_HOST").as_deref(), host, "{request}");
            let listed = environ.variables();
            let mut hosts = listed.iter().filter(|(name, _)| name == "HTTP_HOST");
            let value = hosts.next().map(|(_, value)| &**value);
            assert_eq!(value, host.map(str::as_bytes), "{request}");
            assert!(hosts.next().is_none(), "{request}");
        }
    }

    #[test]
    fn the_host_from_a_trusted_proxy_takes_precedence() {
        let mut environ = environ(REQUEST);
        environ.scheme = Scheme::Https;
        environ.host = Some(b"public.example".to_vec());
        environ.local.set_port(443);
        for (name, value) in [
            ("wsgi.url_scheme", "https"),
            ("SERVER_NAME", "public.example"),
            ("SERVER_PORT", "443"),
            ("HTTP_HOST", "example.org:8080"),
        ] {
            assert_eq!(get(&environ, name).as_deref(), Some(value), "{name}");
        }
    }
}
