//! The statement of one proxy about its peer, and its parts as the fields write them.

use std::net::IpAddr;

use crate::gateway::Scheme;

/// The maximum number of proxies that are followed. Real paths have three or four.
pub(super) const HOPS: usize = 32;

/// The statement of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) client: Option<Node>,
    pub(super) scheme: Option<Scheme>,
    /// The authority of the request as the client sent it: any bytes.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) port: Option<u16>,
}

/// The peer of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A known address and port.
    Address(IpAddr, Option<u16>),
    /// Not announced.
    Hidden,
}

/// Parses `http` or `https`. Ignores case.
pub(super) fn scheme(text: &[u8]) -> Option<Scheme> {
    if text.eq_ignore_ascii_case(b"https") {
        Some(Scheme::Https)
    } else if text.eq_ignore_ascii_case(b"http") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// Parses an address with or without a port: `192.0.2.1`, `192.0.2.1:5000`, `[2001:db8::1]:5000`,
/// and `2001:db8::1`, which only some of the fields allow. Returns `Hidden` for anything else.
pub(super) fn node(text: &[u8]) -> Node {
    let parse = |text: &str| {
        if let Ok(address) = text.parse() {
            return Some(Node::Address(address, None));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                let address = IpAddr::V6(host.parse().ok()?);
                if port.is_empty() {
                    return Some(Node::Address(address, None));
                }
                (address, port.strip_prefix(':')?)
            }
            None => {
                let (host, port) = text.split_once(':')?;
                (IpAddr::V4(host.parse().ok()?), port)
            }
        };
        // `_http` and similar names stand for an undisclosed port (RFC 7239 section 6).
        let port = if port.starts_with('_') {
            None
        } else if port.bytes().all(|byte| byte.is_ascii_digit()) {
            Some(port.parse().ok()?)
        } else {
            return None;
        };
        Some(Node::Address(host, port))
    };
    str::from_utf8(text)
        .ok()
        .and_then(parse)
        .unwrap_or(Node::Hidden)
}
