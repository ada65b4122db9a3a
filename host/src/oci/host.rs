//! A host with a port, as in a reference.

use std::net::{IpAddr, Ipv6Addr};

use crate::grants::MAX_NAME_BYTES;

/// Splits a host and its port. Brackets of an IPv6 address are removed.
pub(super) fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (
                host,
                rest.strip_prefix(':').or(rest.is_empty().then_some("")),
            )
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port = port?;
    match port {
        "" if authority.ends_with(':') => None,
        "" => Some((host, None)),
        _ if port.len() > 5 || !port.bytes().all(|digit| digit.is_ascii_digit()) => None,
        _ => match port.parse() {
            Ok(0) | Err(_) => None,
            Ok(port) => Some((host, Some(port))),
        },
    }
}

/// Returns whether a text is a host, perhaps with a port.
pub(super) fn is_host(authority: &str) -> bool {
    let Some((host, _)) = split_authority(authority) else {
        return false;
    };
    let is_label = |label: &str| {
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(is_inside)
    };
    host.len() <= MAX_NAME_BYTES
        && (host.parse::<IpAddr>().is_ok() || host.split('.').all(is_label))
}
