//! A URL that a registry sends: where a blob is, or where tokens are issued.

use std::net::IpAddr;

use http::Uri;

use super::host::{is_host, split_authority};
use crate::grants::AddressRange;
use crate::outbound::own::Peer;

/// The maximum length of a URL, in bytes: presigned ones have some 2 KiB.
const MAX_BYTES: usize = 8 << 10;

/// A URL of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) is_https: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// The path with the query.
    pub(super) target: String,
}

impl Location {
    /// Returns the location of a path at a host, perhaps with a port.
    ///
    /// # Errors
    ///
    /// Fails if the host is none.
    pub(super) fn new(is_https: bool, authority: &str, target: String) -> Result<Self, String> {
        let (host, port) = split_authority(authority)
            .filter(|_| is_host(authority))
            .ok_or_else(|| format!("{authority}: is no host"))?;
        Ok(Self {
            is_https,
            host: host.to_ascii_lowercase(),
            port: port.unwrap_or(if is_https { 443 } else { 80 }),
            target,
        })
    }

    /// Parses an absolute URL.
    ///
    /// # Errors
    ///
    /// Fails with the reason, which doesn't contain the URL: it may have a password.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("a URL of more than {MAX_BYTES} bytes"));
        }
        let uri: Uri = text.parse().map_err(|_| "no URL")?;
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("no URL of http or https".into()),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("a URL with a user".into());
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Self::new(is_https, authority, target.to_owned())
    }

    /// Returns the location that a `Location` field means in a response from here (RFC 9110 section
    /// 10.2.2): an absolute URL, or a path on the same host.
    ///
    /// # Errors
    ///
    /// Fails with the reason.
    pub(super) fn redirected(&self, field: &str) -> Result<Self, String> {
        let is_path = field.starts_with('/') && !field.starts_with("//");
        if !is_path {
            return Self::parse(field);
        }
        let target: Uri = field.parse().map_err(|_| "no URL")?;
        let target = target
            .path_and_query()
            .map_or("/", |target| target.as_str());
        match target.len() > MAX_BYTES {
            true => Err(format!("a URL of more than {MAX_BYTES} bytes")),
            false => Ok(Self {
                target: target.to_owned(),
                ..self.clone()
            }),
        }
    }

    /// Returns whether it is on the same host, and may have the same password.
    pub(super) fn has_origin_of(&self, other: &Self) -> bool {
        (self.is_https, &self.host, self.port) == (other.is_https, &other.host, other.port)
    }

    /// Returns the host for a connection.
    pub(super) fn peer(&self) -> Peer<'_> {
        Peer {
            is_https: self.is_https,
            host: &self.host,
            port: self.port,
            authorities: None,
        }
    }

    /// Returns the host as in a Host field.
    pub(super) fn authority(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match (self.is_https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// Checks the address of a host that a registry at the address `own` has named. Such a host may be
/// anywhere in the public network, but not in the server's own network unless the registry is there
/// itself: otherwise, a registry could send requests there.
///
/// # Errors
///
/// Fails with the reason.
pub(super) fn check_named_address(own: IpAddr, named: IpAddr) -> Result<(), String> {
    let (own, range) = (
        AddressRange::from_address(own),
        AddressRange::from_address(named),
    );
    match range == AddressRange::Public || range == own {
        true => Ok(()),
        false => Err(format!(
            "it has the {} address {named}, and the registry a {} one",
            range.as_str(),
            own.as_str()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_target() {
        let parsed = Location::parse("https://Example.com/a/b?c=d%20#e").expect("good");
        assert_eq!(parsed.authority(), "example.com");
        assert_eq!((parsed.port, &*parsed.target), (443, "/a/b?c=d%20"));
        let parsed = Location::parse("http://[::1]:5000").expect("good");
        assert_eq!((&*parsed.host, &*parsed.target), ("::1", "/"));
        assert_eq!(parsed.authority(), "[::1]:5000");
        for bad in [
            "",
            "//example.com/",
            "ftp://example.com/",
            "https://user:pw@example.com/",
            "https:///a",
            "https://a b/",
            "https://host:99999/",
            &format!("https://host/{}", "a".repeat(MAX_BYTES)),
        ] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_redirect_is_a_url_or_a_path() {
        let here = Location::parse("https://a.test:8443/v2/x").expect("good");
        let path = here.redirected("/b?c").expect("good");
        assert!(path.has_origin_of(&here) && path.target == "/b?c");
        let other = here.redirected("https://a.test/v2/x").expect("good");
        assert!(!other.has_origin_of(&here), "another port");
        assert!(here.redirected("//b.test/").is_err());
        assert!(here.redirected("b").is_err());
    }

    #[test]
    fn a_registry_names_no_host_of_the_servers_network_unless_it_is_there() {
        let check = |own: &str, named: &str| {
            let [own, named] = [own, named].map(|it| it.parse().expect("an address"));
            check_named_address(own, named).is_ok()
        };
        assert!(check("1.1.1.1", "8.8.8.8"));
        assert!(check("10.0.0.1", "1.1.1.1"));
        assert!(check("10.0.0.1", "192.168.0.1"));
        assert!(check("127.0.0.1", "127.0.0.2"));
        for named in ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1", "fc00::1"] {
            assert!(!check("1.1.1.1", named), "{named}");
        }
        assert!(!check("127.0.0.1", "10.0.0.1"));
        assert!(!check("10.0.0.1", "169.254.169.254"));
    }
}
