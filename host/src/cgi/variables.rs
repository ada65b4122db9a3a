//! The environment of a CGI program: the meta-variables of RFC 3875 section 4.1.

use crate::gateway::{Environ, Scheme};

/// The prefixes of variables that only the gateway uses. They are not passed to programs.
const GATEWAY_PREFIXES: [&str; 3] = ["wsgi.", "wsgiorg.", "wasgi."];

/// The prefix of variables that hold a route's bound segments: `[id]` becomes `WASGI_ROUTE_ID`.
const ROUTE_PREFIX: &str = "WASGI_ROUTE_";

/// Returns the complete environment of a program that serves a request.
///
/// Values in WASI are text. Bytes that are not UTF-8, which a path can contain percent-encoded, are
/// replaced with U+FFFD; `REQUEST_URI` has them as the client sent them.
pub(crate) fn variables(environ: &Environ) -> Vec<(String, String)> {
    let mut variables = vec![("GATEWAY_INTERFACE".to_owned(), "CGI/1.1".to_owned())];
    for (name, value) in environ.variables() {
        let is_gateways = GATEWAY_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
        if !is_gateways {
            variables.push((name, text(&value)));
        }
    }
    // Client names are not looked up: "the server MAY substitute the REMOTE_ADDR value".
    if let Some(address) = environ.get("REMOTE_ADDR") {
        variables.push(("REMOTE_HOST".to_owned(), text(&address)));
    }
    // Not in the RFC, but commonly used by programs.
    let scheme = environ.scheme.as_str().to_owned();
    variables.push(("REQUEST_SCHEME".to_owned(), scheme));
    if environ.scheme == Scheme::Https {
        variables.push(("HTTPS".to_owned(), "on".to_owned()));
    }
    for (name, value) in &environ.args {
        variables.push((route_variable(name), text(value)));
    }
    variables
}

/// Returns a variable name in shell style: upper-case with underscores.
fn route_variable(segment: &str) -> String {
    let name = segment.chars().map(|character| match character {
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_uppercase(),
        _ => '_',
    });
    ROUTE_PREFIX.chars().chain(name).collect()
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use super::*;
    use crate::http1::{Limits, RequestHead};

    fn environ(request: &str) -> Environ {
        let head = RequestHead::parse(request.as_bytes(), &Limits::default());
        let (head, _) = head.expect("no rejection").expect("a whole head");
        Environ {
            script_name: b"/cgi".to_vec(),
            path_info: b"/\xff".to_vec(),
            args: vec![("user-id".into(), b"7".to_vec())],
            peer: (Ipv4Addr::new(192, 0, 2, 1), 5000).into(),
            scheme: Scheme::Https,
            ..Environ::local(Arc::new(head))
        }
    }

    #[test]
    fn the_environment_is_cgis_and_nothing_else() {
        let environ = environ(
            "POST /cgi/%FF?a=b HTTP/1.1\r\nHost: a.example\r\nContent-Type: x/y\r\n\
             Content-Length: 3\r\nX-Thing: 1\r\nX-Thing: 2\r\nProxy: evil\r\n\r\n",
        );
        let list = variables(&environ);
        let map: HashMap<_, _> = list.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(map.len(), list.len(), "each name once");
        for (name, value) in [
            ("GATEWAY_INTERFACE", "CGI/1.1"),
            ("REQUEST_METHOD", "POST"),
            ("SCRIPT_NAME", "/cgi"),
            ("PATH_INFO", "/\u{fffd}"),
            ("REQUEST_URI", "/cgi/%FF?a=b"),
            ("QUERY_STRING", "a=b"),
            ("CONTENT_TYPE", "x/y"),
            ("CONTENT_LENGTH", "3"),
            ("SERVER_NAME", "a.example"),
            ("SERVER_PORT", "8000"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_HOST", "192.0.2.1"),
            ("HTTPS", "on"),
            ("HTTP_X_THING", "1,2"),
            ("WASGI_ROUTE_USER_ID", "7"),
        ] {
            assert_eq!(map.get(name), Some(&value), "{name}");
        }
        for (name, _) in &list {
            let plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
            assert!(name.chars().all(plain), "{name}");
            assert!(!name.contains("PROXY"), "{name}");
        }
    }

    #[test]
    fn absent_request_data_defines_no_variable() {
        let mut environ = environ("GET / HTTP/1.0\r\n\r\n");
        environ.scheme = Scheme::Http;
        let names: Vec<_> = variables(&environ)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        for name in [
            "HTTPS",
            "CONTENT_TYPE",
            "CONTENT_LENGTH",
            "HTTP_HOST",
            "PATH",
        ] {
            assert!(!names.iter().any(|one| one == name), "{name}");
        }
    }
}
