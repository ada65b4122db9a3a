//! Client addresses behind trusted proxies.
//!
//! - [`ProxyOptions`]: the trusted proxies, and how they announce clients.
//! - `network`: address ranges.
//! - `header`: the PROXY protocol, before the first byte of a connection.
//! - `forwarded`, `x_forwarded`: the fields of a request.
//! - `hop`: the statement of one proxy in them.
//! - `origin`: the combined result for one request.
//!
//! This module doesn't use sockets.

mod forwarded;
pub(in crate::server) mod header;
mod hop;
mod network;
mod origin;
mod x_forwarded;

use std::net::IpAddr;
use std::time::Duration;

pub(crate) use network::Network;

/// The time for a trusted proxy to send its PROXY header. The specification requires at least three
/// seconds, to allow for a lost packet; a client that needs longer is not a proxy.
pub(in crate::server) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// The trusted proxies and how they announce clients: `[proxy]` in `wasgi.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProxyOptions {
    /// The addresses and networks of the proxies, `["10.0.0.0/8", "::1"]`. Statements about clients
    /// from other peers are ignored. Default: empty.
    pub trusted: Vec<Network>,
    /// The fields that the trusted proxies set on each request. Default: `"x-forwarded"`.
    pub fields: Fields,
    /// Whether connections from trusted proxies begin with a header of the PROXY protocol, version
    /// 1 or 2. If set, all of them must. Default: no.
    pub protocol: bool,
}

/// The fields in which proxies announce a client.
///
/// One kind only: a proxy that sets one kind forwards the other as the client wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fields {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`: used by most proxies.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None: the proxies don't add fields.
    None,
}

impl ProxyOptions {
    /// Returns whether this is a trusted proxy's address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Returns whether a connection from this address must begin with a PROXY header.
    pub(in crate::server) fn expects_header(&self, address: IpAddr) -> bool {
        self.protocol && self.trusts(address)
    }
}
