//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte.
//! The rules are in HAProxy's `doc/proxy-protocol.txt`.
//!
//! Bytes go in, addresses come out. No socket, and no opinion on who may send a header: that is
//! [`Options`](super::Options)'s.

mod crc32c;
mod v1;
mod v2;

use std::net::SocketAddr;

/// The longest header, in bytes. Version 1 ends after 107; version 2 may carry 64 KiB of
/// extensions, of which real proxies send some hundred bytes: a name, an identifier, a
/// certificate's subject.
pub(in crate::server) const HEADER_BYTES: usize = 4 * 1024;

/// What a header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Announced {
    /// The two ends of the client's connection to the proxy.
    Addresses {
        client: SocketAddr,
        server: SocketAddr,
    },
    /// Nothing: the proxy speaks for itself (a health check), or for a client without an address.
    Nothing,
}

/// Why bytes are no header: one clause, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Malformed(pub(in crate::server) &'static str);

/// A header at the start of `bytes` and its length, or none if more bytes are needed.
///
/// # Errors
///
/// Fails as soon as the bytes can't become a header any more.
pub(in crate::server) fn parse(bytes: &[u8]) -> Result<Option<(Announced, usize)>, Malformed> {
    if is_prefix(bytes, v2::SIGNATURE) {
        v2::parse(bytes)
    } else if is_prefix(bytes, v1::SIGNATURE) {
        v1::parse(bytes)
    } else {
        Err(Malformed("it does not begin with a PROXY header"))
    }
}

/// Whether `bytes` begin with `signature`, as far as both go.
fn is_prefix(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
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
