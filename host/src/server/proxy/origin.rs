//! Who a request comes from and what it was asked of, as far as proxies that can be trusted say.
//!
//! Each proxy on the way adds what it knows to the right of what is there. So the way is walked
//! from the right: the connection's own peer is known; as long as it is a trusted proxy, what it
//! added is believed, and the peer that it names is the next one. The first that isn't trusted is
//! the client, and what stands to the left of it is the client's own word, which counts for
//! nothing.

use std::net::{IpAddr, SocketAddr};

use super::{Fields, Options, forwarded, x_forwarded};
use crate::gateway::Scheme;
use crate::http1::{RequestHead, split_authority};

/// The longest way that is looked at, in proxies. Real ones have three or four.
pub(super) const HOPS: usize = 32;

/// Who a request comes from, and what it was asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::server) struct Origin {
    /// The client. Its port is 0 where nobody says which it is.
    pub(in crate::server) peer: SocketAddr,
    /// The address that it connected to; the port is the one that it asked for.
    pub(in crate::server) local: SocketAddr,
    pub(in crate::server) scheme: Scheme,
    /// The host that it asked for, without its port, where a proxy says so.
    pub(in crate::server) host: Option<Vec<u8>>,
}

/// What one proxy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) client: Option<Node>,
    pub(super) scheme: Option<Scheme>,
    /// The request's authority, as the client sent it: any bytes.
    pub(super) authority: Option<Vec<u8>>,
    pub(super) port: Option<u16>,
}

/// Who a proxy got a request from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// This one.
    Address(IpAddr, Option<u16>),
    /// It does not say.
    Hidden,
}

impl Origin {
    /// What `head` says of itself, on a connection between these two: the proxies on its way
    /// included, if the last one is trusted.
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

    /// Goes along the hops, of which the first is the nearest.
    fn walk(&mut self, hops: &[Hop], options: &Options) {
        let mut said = Hop::default();
        for hop in hops {
            // What the farther one does not say, the nearer one may have.
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

    /// Takes over what is said of the request.
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
            // An address without a port is one with the scheme's.
            self.local.set_port(match self.scheme {
                Scheme::Http => 80,
                Scheme::Https => 443,
            });
        }
    }
}

/// `http` or `https`, in any case.
pub(super) fn scheme(text: &[u8]) -> Option<Scheme> {
    if text.eq_ignore_ascii_case(b"https") {
        Some(Scheme::Https)
    } else if text.eq_ignore_ascii_case(b"http") {
        Some(Scheme::Http)
    } else {
        None
    }
}

/// An address, with or without a port: `192.0.2.1`, `192.0.2.1:5000`, `[2001:db8::1]:5000`, and
/// `2001:db8::1`, which only some of the fields may have. Hidden if it is none.
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
        // `_http` and the like stand for a port that is not told (RFC 7239 section 6).
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
