//! The client of a request and the URL that it used, as far as trusted proxies announce them.
//!
//! Each proxy appends its statement to the right of the existing ones, so the path is followed from
//! the right. The connection's peer is known. While the peer is a trusted proxy, its statement is
//! accepted, and the address in it is the next peer. The first untrusted peer is the client.
//! Statements to the left of it come from the client and are ignored.

use std::net::SocketAddr;

use super::hop::{Hop, Node};
use super::{Fields, ProxyOptions, forwarded, x_forwarded};
use crate::gateway::{Origin, Scheme};
use crate::http1::{RequestHead, split_authority};

impl Origin {
    /// Returns the origin of `head` on a connection between these two addresses. Follows the
    /// proxies if the last one is trusted.
    pub(in crate::server) fn from_request(
        head: &RequestHead,
        peer: SocketAddr,
        local: SocketAddr,
        scheme: Scheme,
        options: &ProxyOptions,
    ) -> Self {
        let mut origin = Self::direct(peer, local, scheme);
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
    fn walk(&mut self, hops: &[Hop], options: &ProxyOptions) {
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
