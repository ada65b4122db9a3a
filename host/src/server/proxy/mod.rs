//! Clients that come through proxies: who they are, where a trusted proxy says so.
//!
//! - [`Options`]: which proxies are trusted, and what they are to be believed.
//! - `network`: ranges of addresses.
//! - `header`: the PROXY protocol, before a connection's first byte.
//! - `forwarded`, `x_forwarded`: the fields of a request.
//! - `origin`: what all that says of one request.
//!
//! There is no socket in here.

mod forwarded;
pub(in crate::server) mod header;
mod network;
mod origin;
mod x_forwarded;

use std::net::IpAddr;
use std::time::Duration;

pub use network::Network;
pub(in crate::server) use origin::Origin;

/// How long a trusted proxy may take to send its header. The specification asks for three seconds
/// at least, which a lost packet may cost; a proxy that has not sent it after that is none.
pub(in crate::server) const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Which proxies are trusted, and with what: `[proxy]` in `wasgi.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// The proxies' addresses and networks, `["10.0.0.0/8", "::1"]`. Nobody else is believed a word
    /// of who a client is. Default: none.
    pub trusted: Vec<Network>,
    /// Which fields the trusted proxies set on each request. Default: `"x-forwarded"`.
    pub fields: Fields,
    /// Whether connections from trusted proxies begin with a header of the PROXY protocol, version
    /// 1 or 2. They all have to, then. Default: no.
    pub protocol: bool,
}

/// The fields in which proxies tell who a client is.
///
/// One kind, not all: a proxy that sets one kind passes the other on as the client wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fields {
    /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`: what most proxies send.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// None: the proxies pass requests on as they are.
    None,
}

impl Options {
    /// Whether this is a trusted proxy's address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a connection from this address has to begin with a PROXY header.
    pub(in crate::server) fn expects_header(&self, address: IpAddr) -> bool {
        self.protocol && self.trusts(address)
    }
}
