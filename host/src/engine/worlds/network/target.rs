//! The host of an HTTP request.

use http::uri::Authority;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};

use crate::grants::Host;
use crate::outbound::Target;
use crate::printable;

/// The maximum length of a request's host in the log, in bytes: the longest host name, and a port
/// (RFC 1035 section 3.1).
const MAX_LOGGED_BYTES: usize = 255 + ":65535".len();

/// Returns the host of a request.
pub(super) fn target(scheme: Option<&Scheme>, authority: &str) -> Result<Target, ErrorCode> {
    let is_https = match scheme {
        None | Some(Scheme::Https) => true,
        Some(Scheme::Http) => false,
        Some(Scheme::Other(_)) => return Err(ErrorCode::HttpProtocolError),
    };
    let invalid = ErrorCode::HttpRequestUriInvalid;
    // A user and a password would be sent in the Host field.
    if authority.len() > MAX_LOGGED_BYTES || authority.contains('@') {
        return Err(invalid);
    }
    let authority: Authority = authority.parse().map_err(|_| invalid.clone())?;
    let host = Host::parse(authority.host()).map_err(|_| invalid.clone())?;
    let default = if is_https { 443 } else { 80 };
    let rest = authority.as_str().get(authority.host().len()..);
    let port = match rest.unwrap_or_default().strip_prefix(':') {
        None => default,
        // `parse` accepts a sign.
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().ok();
            port.filter(|port| *port > 0).ok_or(invalid)?
        }
        Some(_) => return Err(invalid),
    };
    Ok(Target {
        is_https,
        host,
        port,
    })
}

/// Returns the entry of `allowed-outbound-hosts` that grants a host.
pub(super) fn entry(target: &Target) -> String {
    let protocol = target.protocol();
    let (scheme, host, port) = (protocol.as_str(), &target.host, target.port);
    let text = match protocol.default_port() == Some(port) {
        true => format!("{scheme}://{host}"),
        false => format!("{scheme}://{host}:{port}"),
    };
    printable::front(&text, MAX_LOGGED_BYTES).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_request_is_a_name_or_an_address_and_a_port() {
        use Scheme::{Http, Https, Other};
        for (scheme, authority, found) in [
            (
                Some(Https),
                "api.example.com",
                Some("https://api.example.com"),
            ),
            (None, "API.Example.com", Some("https://api.example.com")),
            (Some(Http), "a.test:8080", Some("http://a.test:8080")),
            (Some(Http), "a.test:80", Some("http://a.test")),
            (Some(Https), "[::1]:8443", Some("https://[::1]:8443")),
            (Some(Https), "127.0.0.1", Some("https://127.0.0.1")),
            (Some(Other("ftp".into())), "a.test", None),
            (Some(Https), "", None),
            (Some(Https), "user@a.test", None),
            (Some(Https), "a.test:80@b.test", None),
            (Some(Https), "a.test:", None),
            (Some(Https), "a.test:0", None),
            (Some(Https), "a.test:65536", None),
            (Some(Https), "a.test:+80", None),
            (Some(Https), "a.test/b", None),
            (Some(Https), "a.test?b", None),
            (Some(Https), "a.test#b", None),
            (Some(Https), "a test", None),
            (Some(Https), "127.1", None),
            (Some(Https), "2130706433", None),
            (Some(Https), "0x7f.0.0.1", None),
            (Some(Https), "0177.0.0.1", None),
            (Some(Https), "::1", None),
            (Some(Https), "a%2etest", None),
            (Some(Https), "a..test", None),
        ] {
            let target = target(scheme.as_ref(), authority).ok();
            let target = target.as_ref().map(entry);
            assert_eq!(target.as_deref(), found, "{authority:?}");
        }
        let long = "a".repeat(1 << 20);
        assert!(target(None, &long).is_err());
    }
}
