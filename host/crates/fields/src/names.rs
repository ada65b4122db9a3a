//! Field names with a meaning to an intermediary.

/// Returns whether a field applies to one connection (RFC 9110 section 7.6.1), so that only the
/// owner of the connection may send it. `Proxy-Connection` is in no RFC; its senders treat it as
/// such a field.
///
/// Compares the length first, which excludes most names.
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

/// Returns whether PEP 3333 forbids a field to applications, through RFC 2616 section 13.5.1: the
/// connection fields, and two between a client and its proxy.
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
