//! The names of this machine's loopback interface, which no other machine can have. A listener for
//! this machine alone answers only to them: a page elsewhere whose own name was made to resolve to
//! a loopback address (DNS rebinding) sends that name as its `Host`.

use std::net::IpAddr;

use crate::http1::split_authority;

/// Returns whether an authority, `host` or `host:port`, names the loopback interface: `localhost`,
/// a name below it, or a loopback address.
pub(crate) fn is_authority(authority: &[u8]) -> bool {
    let Some((host, _)) = split_authority(authority) else {
        return false;
    };
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    // Names below localhost never leave the machine (RFC 6761 section 6.3).
    let host = host.to_ascii_lowercase();
    let is_below = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        !label.is_empty() && label.bytes().all(is_allowed)
    };
    host == "localhost" || host.strip_suffix(".localhost").is_some_and(is_below)
}

/// Names of this machine for itself.
#[cfg(test)]
pub(crate) const LOOPBACK_NAMES: [&str; 10] = [
    "localhost",
    "LocalHost:8000",
    "localhost:",
    "127.0.0.1",
    "127.8.8.8:8000",
    "[::1]",
    "[::1]:8000",
    "[::ffff:127.0.0.1]:80",
    "blog.localhost:8000",
    "a.b-c.localhost",
];

/// Names of other machines, among them those that can be made to resolve to this one.
#[cfg(test)]
pub(crate) const OTHER_NAMES: [&str; 21] = [
    "",
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evillocalhost",
    ".localhost",
    "evil@.localhost",
    "localhost:9000@evil.example",
    "evil.example@localhost",
    "10.0.0.1",
    "0.0.0.0:9000",
    "[::]",
    "[::1",
    "[::1].evil.example",
    "[::1]80",
    "localhost:80:80",
    "localhost:x",
    "localhost:+1",
    "localhost:65536",
    "\u{a0}localhost",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_loopback_interface_are_known() {
        for authority in LOOPBACK_NAMES {
            assert!(is_authority(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn other_names_are_not() {
        for authority in OTHER_NAMES {
            assert!(!is_authority(authority.as_bytes()), "{authority}");
        }
        assert!(!is_authority(b"\xfflocalhost"));
    }
}
