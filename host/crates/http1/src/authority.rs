//! The authority of a request: `host` or `host:port`, in a Host field or an absolute-form target.

use core::net::Ipv6Addr;

use wasgi_fields::bytes::is_host_byte;

/// Returns whether the bytes match `uri-host [ ":" port ]`; see [`split_authority`].
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    split_authority(bytes).is_some()
}

/// Splits `uri-host [ ":" port ]` into host and port (RFC 9110 section 7.2, RFC 3986 section 3.2).
/// Returns `None` if the bytes don't match. An IPv6 address keeps its brackets.
///
/// The host must not be empty (RFC 9110 section 4.2.1 rejects such http URIs), userinfo is invalid
/// (a Host field doesn't allow it), and the port is absent, empty, or a number up to 65,535.
pub fn split_authority(bytes: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let host_end = match bytes {
        [b'[', ..] => bytes.iter().position(|&byte| byte == b']')? + 1,
        _ => bytes
            .iter()
            .position(|&byte| byte == b':')
            .unwrap_or(bytes.len()),
    };
    let (host, port) = bytes.split_at_checked(host_end)?;
    let host_is_good = match host {
        [b'[', address @ .., b']'] => is_ipv6(address),
        _ => is_reg_name(host),
    };
    let port = match port {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(port_number(digits)?),
        _ => return None,
    };
    host_is_good.then_some((host, port))
}

/// Returns whether the bytes are an IPv6address. Rejects a zone, which has no meaning on another
/// machine, and an IPvFuture, because no such version exists.
fn is_ipv6(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Returns whether the bytes are a reg-name, which includes an IPv4address. A `%` must be followed
/// by two hexadecimal digits.
fn is_reg_name(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        rest = match (first, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (b'%', _) => return false,
            (&byte, after) if is_host_byte(byte) => after,
            _ => return false,
        };
    }
    !bytes.is_empty()
}

/// Parses `1*DIGIT` as a port.
fn port_number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |port, &byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_with_an_optional_port() {
        let good = [
            "localhost",
            "localhost:8000",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:8000",
            "[::ffff:192.0.2.1]",
            "a.b.example",
            "xn--bcher-kva.example",
            "a_b.example",
            "a%20b",
            "example.com:",
            "example.com:65535",
            "0.0.0.0=5000",
            "a,b",
            "example.com.",
        ];
        for authority in good {
            assert!(is_authority(authority.as_bytes()), "{authority}");
        }
        let bad = [
            "",
            ":80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "user@host",
            "user:pw@host",
            "a:b",
            "a:80:80",
            "a:-1",
            "a:+1",
            "a:65536",
            "a:99999999999",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]80",
            "[]",
            "[v1.a]",
            "[fe80::1%25eth0]",
            "[127.0.0.1]",
            "a%2",
            "a%zz",
            "a%",
            "b\u{fc}cher",
            "a\\b",
            "a\"b",
            "<a>",
            "a\tb",
            "http://a",
            "a|b",
            "{a}",
        ];
        for authority in bad {
            assert!(!is_authority(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn an_authority_is_taken_apart() {
        for (authority, host, port) in [
            ("a.example", "a.example", None),
            ("a.example:", "a.example", None),
            ("a.example:8443", "a.example", Some(8443)),
            ("[::1]", "[::1]", None),
            ("[::1]:1", "[::1]", Some(1)),
        ] {
            let parts = split_authority(authority.as_bytes());
            assert_eq!(parts, Some((host.as_bytes(), port)), "{authority}");
        }
    }
}
