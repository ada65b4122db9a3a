//! Field names that mean something to whoever sends a message on.

/// Whether a field is about one connection (RFC 9110 section 7.6.1), so that only who owns the
/// connection may send it. `Proxy-Connection` is in no RFC, and is treated as one by those who
/// send it.
///
/// The length is compared first: most names end there.
#[inline]
pub fn is_connection_field(name: &str) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 => is("TE"),
        7 => is("Trailer") || is("Upgrade"),
        10 => is("Connection") || is("Keep-Alive"),
        16 => is("Proxy-Connection"),
        17 => is("Transfer-Encoding"),
        _ => false,
    }
}

/// Whether PEP 3333 forbids a field to applications, by way of RFC 2616 section 13.5.1: the fields
/// of a connection, and two that a client and its proxy have between them.
pub fn is_hop_by_hop(name: &str) -> bool {
    is_connection_field(name)
        || name.eq_ignore_ascii_case("Proxy-Authenticate")
        || name.eq_ignore_ascii_case("Proxy-Authorization")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_fields_are_known_in_any_case() {
        for name in [
            "Connection",
            "Keep-Alive",
            "Proxy-Connection",
            "TE",
            "Trailer",
            "Transfer-Encoding",
            "Upgrade",
        ] {
            for name in [name, &name.to_lowercase(), &name.to_uppercase()] {
                assert!(is_connection_field(name) && is_hop_by_hop(name), "{name}");
            }
        }
        for name in ["", "Connections", "T", "Trailers", "Keep_Alive", "Date"] {
            assert!(!is_connection_field(name) && !is_hop_by_hop(name), "{name}");
        }
    }

    #[test]
    fn a_proxys_fields_are_hop_by_hop_and_not_of_the_connection() {
        for name in ["proxy-authenticate", "Proxy-Authorization"] {
            assert!(is_hop_by_hop(name) && !is_connection_field(name), "{name}");
        }
    }
}
