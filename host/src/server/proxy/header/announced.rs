//! The content of a header, in both versions.

use std::net::SocketAddr;

/// The maximum length of a header, in bytes. Version 1 ends after 107; version 2 can contain 64 KiB
/// of extensions, of which real proxies send some hundred bytes: a name, an identifier, a
/// certificate's subject.
pub(in crate::server) const HEADER_BYTES: usize = 4 * 1024;

/// The content of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Announced {
    /// The two ends of the client's connection to the proxy.
    Addresses {
        client: SocketAddr,
        server: SocketAddr,
    },
    /// No client: the connection is the proxy's own (a health check), or its client has no address.
    Nothing,
}

/// Why bytes are not a header: one clause, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) struct Malformed(pub(in crate::server) &'static str);

/// Returns whether `bytes` and `signature` agree up to the shorter length.
pub(super) fn is_prefix(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}
