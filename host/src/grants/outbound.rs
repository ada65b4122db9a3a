//! Hosts that a handler may connect to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::address::{Range, is_of_one_host};
use crate::redact;

/// The maximum length of a host name, in bytes (RFC 1035 section 3.1, without the final dot).
pub(crate) const MAX_NAME_BYTES: usize = 253;

/// The maximum length of a label of a host name, in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// The name that stands for the host itself (RFC 6761 section 6.3), with all names below it.
const LOCALHOST: &str = "localhost";

/// A host, as written in `wasgi.toml`: the text of an entry, or a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum HostOptions {
    /// A host that is in the public network, or a literal address.
    Plain(String),
    /// A host with settings.
    Table(HostTable),
}

impl HostOptions {
    /// Returns the host as it is written.
    pub fn host(&self) -> &str {
        match self {
            Self::Plain(host) => host,
            Self::Table(table) => &table.host,
        }
    }
}

/// A host with settings, as written in `wasgi.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostTable {
    /// The host: `https://HOST`, `http://HOST` or `tcp://HOST:PORT`.
    pub host: String,
    /// Whether its name may stand for a loopback or private address. Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP without encryption.
    Http,
    /// HTTP over TLS.
    Https,
    /// A plain connection.
    Tcp,
}

/// The host of a URL: an address or a name, never an address in another form.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Address(IpAddr),
    /// A name in lower case.
    Name(String),
}

/// A host that a handler may connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostGrant {
    protocol: Protocol,
    hosts: Hosts,
    port: u16,
    is_private: bool,
}

/// The hosts of one grant.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    One(Host),
    /// All names below this one.
    Below(String),
    All,
}

/// The hosts that a handler may connect to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboundGrants(Vec<HostGrant>);

/// Why an address may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prohibited {
    /// The address.
    pub address: IpAddr,
    /// The range that it is in, for users.
    pub range: &'static str,
    /// Whether `private = true` would permit it.
    pub is_private: bool,
}

impl<'de> Deserialize<'de> for HostOptions {
    /// Deserializes either form. Derived for an untagged enum, the error would not name a wrong key
    /// of the table.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = HostOptions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a host, such as \"https://api.example.com\", or a table with `host`")
            }

            fn visit_str<E: de::Error>(self, host: &str) -> Result<HostOptions, E> {
                Ok(HostOptions::Plain(host.to_owned()))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<HostOptions, M::Error> {
                let table = HostTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(HostOptions::Table(table))
            }
        }

        deserializer.deserialize_any(Forms)
    }
}

impl HostOptions {
    /// Returns the port that it is for, if it is a host.
    pub fn port(&self) -> Option<u16> {
        Some(self.grant().ok()?.port)
    }

    /// Returns the text of the entry.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Plain(host) => host,
            Self::Table(table) => &table.host,
        }
    }

    /// Returns the grant.
    ///
    /// # Errors
    ///
    /// Fails with the reason if it is not a host.
    fn grant(&self) -> Result<HostGrant, String> {
        let is_private = matches!(self, Self::Table(table) if table.private);
        let text = self.text();
        let granted = HostGrant::parse(text, is_private);
        granted.map_err(|why| format!("{:?}: {why}", redact::urls(text)))
    }
}

impl Protocol {
    /// Returns the scheme of its URLs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }

    fn parse(scheme: &str) -> Result<Self, String> {
        match scheme {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "tcp" => Ok(Self::Tcp),
            _ => Err(format!(
                "the scheme must be https, http or tcp, not {scheme}: protocols of databases and \
                 others are tcp"
            )),
        }
    }

    /// Returns the port of a URL without one.
    pub fn default_port(self) -> Option<u16> {
        match self {
            Self::Http => Some(80),
            Self::Https => Some(443),
            Self::Tcp => None,
        }
    }
}

impl Host {
    /// Parses the host of a URL: an IPv4 address in dotted decimal form, an IPv6 address in
    /// brackets, or a name.
    ///
    /// # Errors
    ///
    /// Fails with the reason. That includes names that a resolver would take for an IPv4 address in
    /// another form, such as `127.1` and `0x7f000001`: those whose last label is a number (WHATWG
    /// URL, section 3.5).
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(address) = text.strip_prefix('[') {
            let address = address
                .strip_suffix(']')
                .ok_or("the bracket is not closed")?;
            let address: Ipv6Addr = address.parse().map_err(|_| "not an IPv6 address")?;
            return Ok(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        check_name(text)?;
        Ok(Self::Name(text.to_ascii_lowercase()))
    }

    /// Parses a host as a socket's API has it: like [`parse`](Self::parse), with an IPv6 address
    /// without brackets.
    ///
    /// # Errors
    ///
    /// Fails with the reason.
    pub fn parse_bare(text: &str) -> Result<Self, &'static str> {
        match text.parse::<Ipv6Addr>() {
            Ok(address) => Ok(Self::Address(address.into())),
            Err(_) => Self::parse(text),
        }
    }

    fn is_localhost(&self) -> bool {
        match self {
            Self::Address(_) => false,
            Self::Name(name) => name == LOCALHOST || is_below(name, LOCALHOST),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(is_bare)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.is_empty() {
        return Err("the host is missing");
    }
    if name.len() > MAX_NAME_BYTES || !name.split('.').all(is_label) {
        return Err("not a host name: letters, digits and hyphens between single dots");
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    if last.bytes().all(|byte| byte.is_ascii_digit()) || hex.is_some_and(is_hex) {
        return Err("neither a name nor an IPv4 address in dotted decimal form");
    }
    Ok(())
}

fn is_below(name: &str, parent: &str) -> bool {
    let front = name.strip_suffix(parent);
    front.is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

impl HostGrant {
    fn parse(text: &str, is_private: bool) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").ok_or(
            "must begin with a scheme: https://api.example.com, http://api.example.com or \
             tcp://db.example.com:5432",
        )?;
        let protocol = Protocol::parse(scheme)?;
        if rest.contains('@') {
            return Err("must not have a user or a password".into());
        }
        if rest.contains(['/', '?', '#', '\\']) {
            return Err("must not have a path or a query: a grant is for a whole host".into());
        }
        if !rest.starts_with('[') && rest.matches(':').count() > 1 {
            return Err("an IPv6 address must be in brackets".into());
        }
        let (host, port) = split_port(rest)?;
        let port = match port.or(protocol.default_port()) {
            Some(0) => return Err("the port must not be 0".into()),
            Some(port) => port,
            None => return Err(format!("needs a port, such as {text}:5432")),
        };
        let hosts = Hosts::parse(host)?;
        if let Hosts::One(Host::Address(address)) = hosts
            && !is_of_one_host(address)
        {
            return Err("not the address of a host".into());
        }
        Ok(Self {
            protocol,
            hosts,
            port,
            is_private,
        })
    }

    /// Reports whether the grant applies to a connection to `host`.
    fn is_for(&self, host: &Host, port: u16) -> bool {
        self.port == port
            && match (&self.hosts, host) {
                (Hosts::One(granted), host) => granted == host,
                (Hosts::Below(parent), Host::Name(name)) => is_below(name, parent),
                (Hosts::Below(_), Host::Address(_)) => false,
                (Hosts::All, _) => true,
            }
    }

    /// Checks an address that `host`, to which the grant applies, stands for.
    fn check(&self, host: &Host, address: IpAddr) -> Result<(), Prohibited> {
        let is_named = self.hosts == Hosts::One(Host::Address(address));
        let range = Range::from_address(address);
        let is_allowed = match range {
            Range::Public => true,
            Range::Loopback => self.is_private || self.names_localhost(host),
            Range::Private => self.is_private,
            Range::Special => false,
        };
        match is_named || is_allowed {
            true => Ok(()),
            false => Err(Prohibited {
                address,
                range: range.as_str(),
                is_private: matches!(range, Range::Loopback | Range::Private),
            }),
        }
    }

    /// Reports whether the grant itself says that `host` is this one.
    fn names_localhost(&self, host: &Host) -> bool {
        self.hosts != Hosts::All && host.is_localhost()
    }
}

impl Hosts {
    fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "*" {
            return Ok(Self::All);
        }
        let (name, is_wildcard) = match text.strip_prefix("*.") {
            Some(parent) => (parent, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err("a wildcard must be the whole first label, as in *.example.com");
        }
        match (Host::parse(name)?, is_wildcard) {
            (Host::Name(parent), true) => Ok(Self::Below(parent)),
            (Host::Address(_), true) => Err("an address can't have a wildcard"),
            (host, false) => Ok(Self::One(host)),
        }
    }
}

/// Separates the port from a host.
///
/// # Errors
///
/// Fails with the reason if it is not a port.
fn split_port(text: &str) -> Result<(&str, Option<u16>), &'static str> {
    let colon = match text.strip_prefix('[') {
        Some(_) => text.find("]:").map(|at| at + 1),
        None => text.find(':'),
    };
    let Some(colon) = colon else {
        return Ok((text, None));
    };
    let (host, port) = text.split_at(colon);
    let port = port.trim_start_matches(':');
    match port.parse() {
        // `parse` accepts a sign.
        Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => Ok((host, Some(number))),
        _ => Err("the port must be a number from 1 to 65535"),
    }
}

impl OutboundGrants {
    /// Parses all hosts of a handler.
    ///
    /// # Errors
    ///
    /// Fails at the first one that is wrong, with the entry and the reason.
    pub(super) fn parse(hosts: &[HostOptions]) -> Result<Self, String> {
        let grants = hosts.iter().map(HostOptions::grant);
        Ok(Self(grants.collect::<Result<_, _>>()?))
    }

    /// Reports whether no host is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reports whether a handler may send HTTP requests to a host.
    pub fn allows_http(&self, protocol: Protocol, host: &Host, port: u16) -> bool {
        let mut grants = self.0.iter();
        grants.any(|grant| grant.protocol == protocol && grant.is_for(host, port))
    }

    /// Reports whether a handler may look up the addresses of a name.
    pub fn allows_lookup(&self, host: &Host) -> bool {
        self.0.iter().any(|grant| grant.is_for(host, grant.port))
    }

    /// Checks an address that the name `host` stands for, for any granted port.
    ///
    /// # Errors
    ///
    /// Fails if no grant permits it, with one of the ports that are granted.
    pub fn check_lookup(&self, host: &Host, address: IpAddr) -> Result<(), (Prohibited, u16)> {
        let grants = self.0.iter().filter(|grant| grant.is_for(host, grant.port));
        let mut prohibited = None;
        for grant in grants {
            match grant.check(host, address) {
                Ok(()) => return Ok(()),
                Err(why) => prohibited = Some((why, grant.port)),
            }
        }
        Err(prohibited.unwrap_or((not_granted(address), 0)))
    }

    /// Checks an address that an HTTP request to a granted host would connect to. Must be called
    /// for the address of each new connection: the name may stand for another one each time.
    ///
    /// # Errors
    ///
    /// Fails if no grant permits it.
    pub fn check_http(
        &self,
        protocol: Protocol,
        host: &Host,
        port: u16,
        address: IpAddr,
    ) -> Result<(), Prohibited> {
        let grants = self.0.iter().filter(|grant| grant.protocol == protocol);
        check_all(grants, host, port, address)
    }

    /// Checks an address that a socket would be connected to, of a host with this name or address.
    ///
    /// # Errors
    ///
    /// Fails if no grant permits it. A grant for HTTP permits plain connections as well: programs
    /// speak HTTP over sockets.
    pub fn check_socket(&self, host: &Host, port: u16, address: IpAddr) -> Result<(), Prohibited> {
        check_all(self.0.iter(), host, port, address)
    }
}

fn not_granted(address: IpAddr) -> Prohibited {
    Prohibited {
        address,
        range: "not granted",
        is_private: false,
    }
}

fn check_all<'g>(
    grants: impl Iterator<Item = &'g HostGrant>,
    host: &Host,
    port: u16,
    address: IpAddr,
) -> Result<(), Prohibited> {
    let mut prohibited = not_granted(address);
    for grant in grants.filter(|grant| grant.is_for(host, port)) {
        match grant.check(host, address) {
            Ok(()) => return Ok(()),
            Err(why) => prohibited = why,
        }
    }
    Err(prohibited)
}

#[cfg(test)]
#[path = "outbound/tests.rs"]
mod tests;
