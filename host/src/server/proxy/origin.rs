//! The client of a request and the URL that it used, as far as trusted proxies announce them.
//!
//! Each proxy appends its statement to the right of the existing ones, so the path is followed from
//! the right. The connection's peer is known. While the peer is a trusted proxy, its statement is
//! accepted, and the address in it is the next peer. The first untrusted peer is the client.
//! Statements to the left of it come from the client and are ignored.

use std::net::{IpAddr, SocketAddr};

use super::{Fields, Options, forwarded, x_forwarded};
use crate::gateway::Scheme;
use crate::http1::{RequestHead, split_authority};

/// The maximum number of proxies that are followed. Real paths have three or four.
pub(super) const HOPS: usize = 32;

/// The client of a request and the address that it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Origin {
    /// The client. Its port is 0 if unknown.
    pub(in crate::server) peer: SocketAddr,
    /// The address that the client connected to, with the port that it requested.
    pub(in crate::server) local: SocketAddr,
    pub(in crate::server) scheme: Scheme,
    /// The host that the client requested, without port, if a proxy announces it.
    pub(in crate::server) host: Option<Vec<u8>>,
}

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

impl Origin {
    /// Returns the origin of `head` on a connection between these two addresses. Follows the
    /// proxies if the last one is trusted.
    pub(in crate::server) fn of(
        head: &RequestHead,
        peer: SocketAddr,
        local: SocketAddr,
        scheme: Scheme,
        options: &Options,
    ) -> Self {
        let mut origin = Self {
            peer,
            local,
            scheme,
            host: None,
        };
        if !options.trusted.is_empty() && options.trusts(peer.ip()) {
            let hops = match options.fields {
                Fields::XForwarded => x_forwarded::hops(head),
                Fields::Forwarded => forwarded::hops(head),
                Fields::None => Vec::new(),
            };
            origin.walk(&hops, options);
        }
        origin
    }

    /// Follows the hops, of which the first is the nearest.
    fn walk(&mut self, hops: &[Hop], options: &Options) {
        let mut said = Hop::default();
        for hop in hops {
            // If the farther proxy omits a value, the nearer one's applies.
            said.scheme = hop.scheme.or(said.scheme);
            said.authority = hop.authority.clone().or(said.authority);
            said.port = hop.port.or(said.port);
            let Some(Node::Address(address, port)) = hop.client else {
                break;
            };
            self.peer = SocketAddr::new(address, port.unwrap_or(0));
            if !options.trusts(address) {
                break;
            }
        }
        self.take(&said);
    }

    /// Applies a proxy's statement about the request.
    fn take(&mut self, said: &Hop) {
        if let Some(scheme) = said.scheme {
            self.scheme = scheme;
        }
        let authority = said.authority.as_deref().and_then(split_authority);
        self.host = authority.map(|(host, _)| host.to_vec());
        let port = said.port.or(authority.and_then(|(_, port)| port));
        if let Some(port) = port {
            self.local.set_port(port);
        } else if authority.is_some() || said.scheme.is_some() {
            // An authority without a port means the scheme's default.
            self.local.set_port(match self.scheme {
                Scheme::Http => 80,
                Scheme::Https => 443,
            });
        }
    }
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
