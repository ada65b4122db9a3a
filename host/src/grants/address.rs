//! The ranges of IP addresses that a name may or may not stand for.
//!
//! A name is resolved outside of the server, by its zone's owner. So a granted name must not
//! give access to the server's own network: only public addresses are connected to, unless the
//! grant says otherwise.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The range of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// Global unicast.
    Public,
    /// The host itself: 127.0.0.0/8, `::1`.
    Loopback,
    /// A private network: RFC 1918, carrier-grade NAT (RFC 6598), unique local (RFC 4193).
    Private,
    /// Everything else: link-local addresses, which include the metadata services of clouds;
    /// multicast and unspecified addresses; documentation and reserved ranges; and IPv6 addresses
    /// that stand for an IPv4 address (mapped, compatible, 6to4, Teredo, NAT64).
    Special,
}

impl Range {
    /// Returns the range of an address.
    pub(crate) fn from_address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    /// Returns the name for users.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Special => "link-local or reserved",
        }
    }

    /// Classifies by the IANA IPv4 Special-Purpose Address Registry.
    fn of_v4(address: Ipv4Addr) -> Self {
        match address.octets() {
            [127, ..] => Self::Loopback,
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Self::Private,
            // "This network", link-local, IETF protocols, documentation, 6to4 relays, benchmarks.
            [0, ..]
            | [169, 254, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _] => Self::Special,
            // Multicast, reserved, broadcast.
            [224..=255, ..] => Self::Special,
            _ => Self::Public,
        }
    }

    /// Classifies by the IANA IPv6 registries: global unicast is 2000::/3 but for the assignments
    /// for special purposes.
    fn of_v6(address: Ipv6Addr) -> Self {
        match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => Self::Loopback,
            [0xfc00..=0xfdff, ..] => Self::Private,
            // IETF protocols, among them Teredo; documentation; 6to4.
            [0x2001, 0..=0x01ff, ..]
            | [0x2001, 0x0db8, ..]
            | [0x2002, ..]
            | [0x3fff, 0..=0x0fff, ..] => Self::Special,
            [0x2000..=0x3fff, ..] => Self::Public,
            _ => Self::Special,
        }
    }
}

/// Reports whether an address can be that of one host, so that a grant may name it.
pub(super) fn is_of_one_host(address: IpAddr) -> bool {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    let embedded = match address {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    !(address.is_unspecified() || address.is_multicast() || is_broadcast || embedded.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_global_unicast_addresses_are_public() {
        for (range, addresses) in [
            (
                Range::Public,
                &[
                    "1.1.1.1",
                    "93.184.215.14",
                    "100.63.255.255",
                    "100.128.0.0",
                    "172.15.255.255",
                    "172.32.0.0",
                    "192.0.1.0",
                    "223.255.255.255",
                    "2606:4700:4700::1111",
                    "2001:200::1",
                    "2a00::",
                    "3ffe::1",
                ][..],
            ),
            (Range::Loopback, &["127.0.0.1", "127.255.255.254", "::1"]),
            (
                Range::Private,
                &[
                    "10.0.0.1",
                    "10.255.255.255",
                    "172.16.0.0",
                    "172.31.255.255",
                    "192.168.0.1",
                    "100.64.0.0",
                    "100.127.255.255",
                    "fc00::1",
                    "fdff:ffff::1",
                ],
            ),
            (
                Range::Special,
                &[
                    "0.0.0.0",
                    "0.1.2.3",
                    "169.254.169.254",
                    "192.0.0.1",
                    "192.0.2.1",
                    "192.88.99.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "198.51.100.1",
                    "203.0.113.1",
                    "224.0.0.1",
                    "239.255.255.255",
                    "240.0.0.1",
                    "255.255.255.255",
                    "::",
                    "::ffff:127.0.0.1",
                    "::ffff:10.0.0.1",
                    "::ffff:1.1.1.1",
                    "::127.0.0.1",
                    "::2",
                    "::ffff:0:127.0.0.1",
                    "64:ff9b::7f00:1",
                    "64:ff9b::1.1.1.1",
                    "64:ff9b:1::1",
                    "100::1",
                    "2001::1",
                    "2001:10::1",
                    "2001:db8::1",
                    "2002:7f00:1::",
                    "2002:101:101::1",
                    "3fff::1",
                    "5f00::1",
                    "fe80::1",
                    "febf::1",
                    "fec0::1",
                    "ff02::1",
                    "ff0e::1",
                ],
            ),
        ] {
            for text in addresses {
                let address: IpAddr = text.parse().expect(text);
                assert_eq!(Range::from_address(address), range, "{text}");
            }
        }
    }

    #[test]
    fn an_address_of_many_hosts_or_of_another_family_is_not_granted() {
        for (text, granted) in [
            ("127.0.0.1", true),
            ("169.254.169.254", true),
            ("fe80::1", true),
            ("0.0.0.0", false),
            ("255.255.255.255", false),
            ("224.0.0.1", false),
            ("::", false),
            ("ff02::1", false),
            ("::ffff:127.0.0.1", false),
        ] {
            let address: IpAddr = text.parse().expect(text);
            assert_eq!(is_of_one_host(address), granted, "{text}");
        }
    }
}
