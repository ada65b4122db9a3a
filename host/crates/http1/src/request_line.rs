//! The request line: method, target, version.
//!
//! ```text
//! request-line   = method SP request-target SP HTTP-version       RFC 9112 section 3
//! method         = token                                          RFC 9110 section 9.1
//! HTTP-version   = %s"HTTP" "/" DIGIT "." DIGIT                   RFC 9112 section 2.3
//!
//! request-target = origin-form / absolute-form / authority-form / asterisk-form      section 3.2
//! origin-form    = absolute-path [ "?" query ]
//! absolute-form  = absolute-URI
//! authority-form = uri-host ":" port
//! asterisk-form  = "*"
//! ```
//!
//! Stricter than the RFC requires: exactly one space between the parts, none around them. More
//! lenient: a target may contain any visible ASCII character except `#`. Clients send these, and
//! most servers accept them. No form of a target has a fragment, and an http URI in a request must
//! not have userinfo (RFC 9110 section 4.2.4): both are rejected, because servers on the path
//! differ in how they interpret them.

use wasgi_fields::bytes::{is_target_byte, is_token};

use super::authority::{is_authority, split_authority};
use super::error::Rejection;
use super::span::Span;
use super::version::Version;

/// The maximum length of a method. RFC 9112 section 3: a method longer than any known one is 501.
/// The longest registered method is UPDATEREDIRECTREF, with 17 characters.
const METHOD_BYTES: usize = 32;

/// A checked request line: the positions of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLine {
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) version: Version,
}

impl RequestLine {
    /// Checks a line, without its CRLF, that begins at the first byte of the head.
    pub(super) fn parse(line: &[u8]) -> Result<Self, Rejection> {
        let (method, rest) =
            split_at_space(line).ok_or(Rejection::bad("the request line has no target"))?;
        let (target, version) =
            split_at_space(rest).ok_or(Rejection::bad("the request line has no version"))?;
        if !is_token(method) {
            return Err(Rejection::bad("the method is not a token"));
        }
        if target.is_empty() || !target.iter().all(|&byte| is_target_byte(byte)) {
            return Err(Rejection::bad(if target.contains(&b'#') {
                "the request-target contains a fragment ('#')"
            } else {
                "the request-target contains a forbidden character"
            }));
        }
        let version = parse_version(version)?;
        check_known(method)?;
        let target_start = method.len() + 1;
        Ok(Self {
            method: Span::new(0, method.len()),
            target: Span::new(target_start, target_start + target.len()),
            version,
        })
    }
}

/// Rejects a method that can't be a known one with 501 (RFC 9110 section 9.1). Methods are
/// case-sensitive, and all known ones are in capitals: `get` is not GET.
fn check_known(method: &[u8]) -> Result<(), Rejection> {
    let why = if method.len() > METHOD_BYTES {
        "the method is longer than any known method"
    } else if method.iter().any(u8::is_ascii_lowercase) {
        "methods are case-sensitive, and no known method has lower-case letters"
    } else {
        return Ok(());
    };
    Err(Rejection::new(501, why))
}

/// Parses the version. RFC 9110 section 2.5: a higher minor version of HTTP/1 is processed as the
/// highest known one; another major version is 505 (section 15.6.6). HTTP/0.9 sends none.
fn parse_version(version: &[u8]) -> Result<Version, Rejection> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Ok(Version::Http11),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(Rejection::new(
            505,
            "the server supports HTTP/1.1 and HTTP/1.0",
        )),
        _ if version.contains(&b' ') => Err(Rejection::bad(
            "the request line has too many spaces: one in a target is written %20",
        )),
        _ => Err(Rejection::bad("the HTTP version is malformed")),
    }
}

/// The parsed request-target. All spans are positions in the head's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: Span,
    pub(super) query: Span,
    /// The authority of an absolute-form target. If present, the Host field is ignored.
    pub(super) authority: Option<Span>,
}

impl Target {
    /// Parses the target of a checked request line. `head` begins with that line.
    pub(super) fn parse(head: &[u8], line: &RequestLine) -> Result<Self, Rejection> {
        let target = line.target.within(head);
        let start = line.target.start as usize;
        match (line.method.within(head), target) {
            (b"CONNECT", _) => Err(refuse_connect(target)),
            (_, [b'/', ..]) => Ok(Self::from_path(target, start)),
            (b"OPTIONS", b"*") => Ok(Self {
                path: line.target,
                ..Self::default()
            }),
            (_, b"*") => Err(Rejection::bad("the target * is only valid for OPTIONS")),
            _ => Self::from_absolute(target, start),
        }
    }

    /// Parses `absolute-path [ "?" query ]`. The path may be empty here.
    fn from_path(path: &[u8], start: usize) -> Self {
        let end = path.len();
        let question = path.iter().position(|&byte| byte == b'?');
        Self {
            path: Span::new(start, start + question.unwrap_or(end)),
            query: question.map_or(Span::default(), |at| Span::new(start + at + 1, start + end)),
            authority: None,
        }
    }

    /// Parses `scheme "://" authority path-abempty [ "?" query ]`. The scheme must be http or
    /// https, the only ones for which this server can be the origin.
    fn from_absolute(target: &[u8], start: usize) -> Result<Self, Rejection> {
        let scheme = ["http://", "https://"].into_iter().find(|scheme| {
            target
                .get(..scheme.len())
                .is_some_and(|prefix| prefix.eq_ignore_ascii_case(scheme.as_bytes()))
        });
        let Some(scheme) = scheme else {
            return Err(Rejection::bad(
                "the request-target is neither a path nor an http URI",
            ));
        };
        let after_scheme = &target[scheme.len()..];
        let authority_end = after_scheme
            .iter()
            .position(|byte| b"/?".contains(byte))
            .unwrap_or(after_scheme.len());
        let (authority, path) = after_scheme.split_at(authority_end);
        // RFC 9110 section 4.2.4: a recipient treats userinfo as an error, because it probably
        // obscures the authority.
        if authority.contains(&b'@') {
            return Err(Rejection::bad(
                "the request-target's authority has userinfo: '@' may not be there",
            ));
        }
        if !is_authority(authority) {
            return Err(Rejection::bad(
                "the request-target's authority is malformed",
            ));
        }
        let authority_start = start + scheme.len();
        let path_start = authority_start + authority_end;
        Ok(Self {
            authority: Some(Span::new(authority_start, path_start)),
            ..Self::from_path(path, path_start)
        })
    }
}

/// Rejects CONNECT, which asks for a tunnel; an origin server need not implement it (RFC 9110
/// section 9.3.6). Its target must have a port (RFC 9112 section 3.2.3).
fn refuse_connect(target: &[u8]) -> Rejection {
    if matches!(split_authority(target), Some((_, Some(_)))) {
        Rejection::new(501, "this server makes no tunnels")
    } else {
        Rejection::bad("the target of CONNECT is not a host and a port")
    }
}

fn split_at_space(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|&byte| byte == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(line: &str) -> u16 {
        match RequestLine::parse(line.as_bytes()) {
            Ok(parsed) => match Target::parse(line.as_bytes(), &parsed) {
                Ok(_) => 200,
                Err(rejection) => rejection.status,
            },
            Err(rejection) => rejection.status,
        }
    }

    #[test]
    fn a_request_line_is_accepted_or_rejected_with_its_status() {
        let table = [
            ("GET / HTTP/1.1", 200),
            ("GET / HTTP/1.0", 200),
            ("GET / HTTP/1.9", 200),
            ("get / HTTP/1.1", 501),
            ("GEt / HTTP/1.1", 501),
            ("M-SEARCH / HTTP/1.1", 200),
            ("GET / HTTP/2.0", 505),
            ("GET / HTTP/0.9", 505),
            ("PRI * HTTP/2.0", 505),
            ("GET / HTTP/1.32", 400),
            ("GET / HTTP/11.1", 400),
            ("GET / HTTP/1", 400),
            ("GET / HTTP/1.x", 400),
            ("GET / HTTP/-1.1", 400),
            ("GET / http/1.1", 400),
            ("GET / ICE/1.0", 400),
            ("GET / HTTP/1.1 ", 400),
            ("GET /", 400),
            ("GET / ", 400),
            ("GET  / HTTP/1.1", 400),
            ("GET /  HTTP/1.1", 400),
            ("GET\t/ HTTP/1.1", 400),
            (" GET / HTTP/1.1", 400),
            ("GET /a b HTTP/1.1", 400),
            ("GET /a\tb HTTP/1.1", 400),
            ("GET /a\0b HTTP/1.1", 400),
            ("GET /a\x7fb HTTP/1.1", 400),
            ("G@T / HTTP/1.1", 400),
            ("G\u{c9}T / HTTP/1.1", 400),
            ("GET\0 / HTTP/1.1", 400),
            ("", 400),
            ("GET", 400),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1", 200),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1", 501),
        ];
        for (line, expected) in table {
            assert_eq!(status(line), expected, "{line:?}");
        }
    }

    #[test]
    fn a_target_is_accepted_if_http_permits_it() {
        let table = [
            ("GET /a?b=c|d\"{}`^\\ HTTP/1.1", 200),
            ("GET /caf\u{e9} HTTP/1.1", 400),
            ("GET /?caf\u{e9} HTTP/1.1", 400),
            ("GET //double HTTP/1.1", 200),
            ("OPTIONS * HTTP/1.1", 200),
            ("OPTIONS http://a HTTP/1.1", 200),
            ("GET * HTTP/1.1", 400),
            ("OPTIONS *a HTTP/1.1", 400),
            ("GET index.html HTTP/1.1", 400),
            ("GET ?a HTTP/1.1", 400),
            ("GET example.com HTTP/1.1", 400),
            ("GET example.com:80 HTTP/1.1", 400),
            ("GET http://a/ HTTP/1.1", 200),
            ("GET HTTPS://a:443/ HTTP/1.1", 200),
            ("GET http:///path HTTP/1.1", 400),
            ("GET http:/path HTTP/1.1", 400),
            ("GET http://u:p%40!@a/ HTTP/1.1", 400),
            ("GET http://@a/ HTTP/1.1", 400),
            ("GET http://a/@b HTTP/1.1", 200),
            ("GET http://a?@b HTTP/1.1", 200),
            ("GET /@a HTTP/1.1", 200),
            ("GET /a#b HTTP/1.1", 400),
            ("GET /a?b#c HTTP/1.1", 400),
            ("GET /# HTTP/1.1", 400),
            ("GET # HTTP/1.1", 400),
            ("OPTIONS *# HTTP/1.1", 400),
            ("GET http://a#b HTTP/1.1", 400),
            ("GET http://a/b#c HTTP/1.1", 400),
            ("GET http://a#@b/ HTTP/1.1", 400),
            ("GET /%23 HTTP/1.1", 200),
            ("GET http://u@/ HTTP/1.1", 400),
            ("GET http://u@a@b/ HTTP/1.1", 400),
            ("GET http://u\\@a/ HTTP/1.1", 400),
            ("GET http://a:b/ HTTP/1.1", 400),
            ("GET http://a\\b/ HTTP/1.1", 400),
            ("GET ftp://a/ HTTP/1.1", 400),
            ("GET file:///etc/passwd HTTP/1.1", 400),
            ("CONNECT example.com:443 HTTP/1.1", 501),
            ("CONNECT example.com HTTP/1.1", 400),
            ("CONNECT u@example.com:443 HTTP/1.1", 400),
            ("CONNECT u:p@example.com:443 HTTP/1.1", 400),
            ("CONNECT example.com:443# HTTP/1.1", 400),
            ("CONNECT :443 HTTP/1.1", 400),
            ("CONNECT example.com: HTTP/1.1", 400),
            ("CONNECT http://example.com:443/ HTTP/1.1", 400),
            ("CONNECT / HTTP/1.1", 400),
        ];
        for (line, expected) in table {
            assert_eq!(status(line), expected, "{line:?}");
        }
        assert!(RequestLine::parse(b"GET /\xff HTTP/1.1").is_err());
    }

    #[test]
    fn a_target_is_split_into_path_query_and_authority() {
        let table: [(&str, &str, &str, Option<&str>); 8] = [
            ("/", "/", "", None),
            ("/a?b?c", "/a", "b?c", None),
            ("/a@b?c@d", "/a@b", "c@d", None),
            ("http://a:1/b?c", "/b", "c", Some("a:1")),
            ("http://a", "", "", Some("a")),
            ("http://a?b", "", "b", Some("a")),
            ("https://[::1]:8/", "/", "", Some("[::1]:8")),
            ("http://a:1/b@c", "/b@c", "", Some("a:1")),
        ];
        for (target, path, query, authority) in table {
            let head = format!("GET {target} HTTP/1.1");
            let head = head.as_bytes();
            let line = RequestLine::parse(head).unwrap();
            let parsed = Target::parse(head, &line).unwrap();
            assert_eq!(parsed.path.within(head), path.as_bytes(), "{target}");
            assert_eq!(parsed.query.within(head), query.as_bytes(), "{target}");
            assert_eq!(
                parsed.authority.map(|span| span.within(head)),
                authority.map(str::as_bytes),
                "{target}"
            );
        }
    }
}
