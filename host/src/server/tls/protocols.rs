//! The application protocols in handshakes (RFC 7301).

/// The supported application protocols. A client that offers only others is rejected.
pub(super) const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// The protocol of a challenge for a certificate (RFC 8737). No data is exchanged.
pub(super) const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";
