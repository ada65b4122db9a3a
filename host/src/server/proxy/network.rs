//! Networks such as `10.0.0.0/8` and `2001:db8::/32`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A range of IP addresses with a common prefix (RFC 4632 section 3.1). A single address is a
/// network, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    /// Returns whether the network contains `address`. An IPv4 address and its IPv4-mapped form,
    /// `::ffff:192.0.2.1`, which IPv6 sockets report, are equal.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    /// Parses strictly, because every address on this list can announce any client: no host bits,
    /// no short forms.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("`{text}` is neither an IP address nor a network"))?;
        if address.to_canonical() != address {
            let canonical = address.to_canonical();
            return Err(format!("`{text}` is an IPv4 address: write {canonical}"));
        }
        let single = IpNet::from(address);
        let network = match bits {
            None => single,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits
                .parse()
                .ok()
                .and_then(|bits| IpNet::new(address, bits).ok())
                .ok_or_else(|| {
                    format!(
                        "`{text}`: a prefix has 0 to {} bits",
                        single.max_prefix_len()
                    )
                })?,
            Some(_) => return Err(format!("`{text}`: a prefix is a number of bits")),
        };
        if network != network.trunc() {
            return Err(format!(
                "`{text}` is an address within a network: write {}",
                Self(network.trunc())
            ));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Network {
    /// Writes a single address without its prefix length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::a00:1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("192.0.2.128/25", "192.0.2.127", false),
            ("192.0.2.128/25", "192.0.2.128", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().expect(network);
            let address: IpAddr = address.parse().expect(address);
            assert_eq!(parsed.contains(address), expected, "{network} {address}");
            assert_eq!(parsed.to_string(), network);
        }
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "/",
            "/8",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "10.0.0.0/-1",
            "10.0.0.0/256",
            "10.0.0.1/8",
            "10.0.0.0/ 8",
            " 10.0.0.0/8",
            "2001:db8::1/32",
            "::/129",
            "::ffff:10.0.0.0",
            "::ffff:10.0.0.0/104",
            "[::1]",
            "localhost",
            "010.0.0.1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let message = "10.1.2.3/8".parse::<Network>().unwrap_err();
        assert!(message.ends_with("write 10.0.0.0/8"), "{message}");
    }
}
