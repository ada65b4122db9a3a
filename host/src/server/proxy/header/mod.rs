//! The PROXY protocol, versions 1 and 2: a proxy's announcement of a client before the first byte
//! of a connection. HAProxy's `doc/proxy-protocol.txt` has the rules.
//!
//! The parser takes bytes and returns addresses. It doesn't use sockets, and
//! [`ProxyOptions`](super::ProxyOptions) decides who may send a header.

mod announced;
mod crc32c;
mod v1;
mod v2;

use announced::is_prefix;
pub(in crate::server) use announced::{Announced, HEADER_BYTES, Malformed};

/// Parses the header at the start of `bytes`. Returns it with its length, or `None` if more bytes
/// are needed.
///
/// # Errors
///
/// Fails as soon as the bytes can't be the start of a header.
pub(in crate::server) fn parse(bytes: &[u8]) -> Result<Option<(Announced, usize)>, Malformed> {
    if is_prefix(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if is_prefix(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(Malformed("it does not begin with a PROXY header"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_no_verdict_and_anything_else_is_refused_at_its_first_byte() {
        assert_eq!(parse(b""), Ok(None));
        for first in 0..=u8::MAX {
            let verdict = parse(&[first]);
            let expected = matches!(first, b'P' | b'\r');
            assert_eq!(verdict == Ok(None), expected, "{first}");
            assert_eq!(verdict.is_err(), !expected, "{first}");
        }
        assert!(parse(b"POST / HTTP/1.1\r\n").is_err());
        assert!(parse(b"\x16\x03\x01").is_err());
    }
}
