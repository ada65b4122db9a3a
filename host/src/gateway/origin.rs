//! The client of a request, and the address that it used.

use std::net::SocketAddr;

use super::Scheme;

/// The client of a request and the address that it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client. Its port is 0 if unknown.
    pub peer: SocketAddr,
    /// The address that the client connected to, with the port that it requested.
    pub local: SocketAddr,
    /// The scheme.
    pub scheme: Scheme,
    /// The host that the client requested, without port, if a proxy announces it.
    pub host: Option<Vec<u8>>,
}

impl Origin {
    /// Returns the origin of a request that came through no proxy.
    pub fn direct(peer: SocketAddr, local: SocketAddr, scheme: Scheme) -> Self {
        Self {
            peer,
            local,
            scheme,
            host: None,
        }
    }
}
