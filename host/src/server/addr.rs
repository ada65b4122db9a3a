//! Listening addresses in configuration syntax: `127.0.0.1:8000`, `[::1]:8000`, `localhost:8000`,
//! `:8000`, `8000`; and explanations for addresses that the system refuses.
//!
//! A module for serde's `with` attribute, with a `parse` function.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

use rustix::io::Errno;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// The expected form of an address, for messages.
const EXPECTED: &str = "an address such as \"127.0.0.1:8000\", \"[::1]:8000\", \"localhost:8000\" \
                        or a port";

/// The maximum length of a DNS name, in bytes (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 255;

/// The first port that requires no privilege, by Linux's default (`ip_unprivileged_port_start`).
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;

/// Parses an address. A port alone means that port of 127.0.0.1. A name is resolved; its first IPv4
/// address is preferred to its first IPv6 address. Resolving blocks as long as the system's
/// resolver does.
///
/// # Errors
///
/// Fails if the text is not an address, has no port, or its name does not resolve; the error text
/// says what to write instead.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, String> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok(addr);
    }
    let on_loopback = |port: &str| {
        let port = port_number(port)?;
        Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(text) {
        return on_loopback(text);
    }
    if let Some(port) = text.strip_prefix(':').filter(|port| is_number(port)) {
        return on_loopback(port);
    }
    if let Some(why) = mistaken(text) {
        return Err(why);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("expected {EXPECTED}, found {text:?}"));
    };
    resolve(host, port_number(port)?)
}

/// Explains a common mistake, and what to write instead.
fn mistaken(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or_default();
        return Some(format!("expected an address, not a URL: write {host:?}"));
    }
    if text.contains('/') {
        return Some(format!(
            "expected {EXPECTED}; Unix sockets and paths are not supported"
        ));
    }
    if let Some(port) = text.strip_prefix("*:") {
        return Some(format!(
            "write \"0.0.0.0:{port}\" for every IPv4 address of this machine, \"[::]:{port}\" for \
             IPv6 as well"
        ));
    }
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match in_brackets.unwrap_or(text).parse::<IpAddr>() {
        Ok(IpAddr::V4(addr)) => Some(format!("the port is missing: write \"{addr}:8000\"")),
        Ok(IpAddr::V6(addr)) => Some(format!(
            "an IPv6 address must be in brackets, followed by its port: write \
             \"[{addr}]:8000\""
        )),
        Err(_) if !text.is_empty() && !text.contains(':') => {
            Some(format!("the port is missing: write \"{text}:8000\""))
        }
        Err(_) => None,
    }
}

fn port_number(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| format!("expected a port from 0 to 65535, found {text:?}"))
}

/// Resolves a name to an address.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    // For `fe80::1%eth0`, the system resolves the interface to its index.
    let is_scoped = bare != host && bare.contains('%');
    let is_name =
        !host.is_empty() && host.len() <= MAX_NAME_BYTES && host.bytes().all(is_name_byte);
    if !is_name && !is_scoped {
        return Err(format!("expected {EXPECTED}, found host {host:?}"));
    }
    let unresolved = |why: &dyn fmt::Display| {
        format!(
            "the name {bare} does not resolve ({why}): use an address of this machine, such as \
             \"127.0.0.1:{port}\", or \"0.0.0.0:{port}\" for all of them"
        )
    };
    let found = (bare, port).to_socket_addrs();
    let addrs: Vec<SocketAddr> = found.map_err(|error| unresolved(&error))?.collect();
    let v4 = addrs.iter().find(|addr| addr.is_ipv4());
    v4.or(addrs.first())
        .copied()
        .ok_or_else(|| unresolved(&"it has no addresseses"))
}

/// Explains why `addr`, given by `flag`, can't be listened on, and what to do.
pub(super) fn refusal(addr: SocketAddr, flag: &str, error: &io::Error) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    let at = |port: u16| SocketAddr::new(ip, port);
    let is_privileged = (1..FIRST_UNPRIVILEGED_PORT).contains(&port);
    let why = match error.kind() {
        ErrorKind::PermissionDenied if is_privileged => format!(
            "ports below {FIRST_UNPRIVILEGED_PORT} need a privilege: use `{flag} {}`, or grant \
             CAP_NET_BIND_SERVICE",
            at(unprivileged(port))
        ),
        ErrorKind::PermissionDenied => {
            format!("the system forbids it ({error}): check its security policy")
        }
        ErrorKind::AddrNotAvailable => format!(
            "this machine has no address {ip}: use one of its addresses, or `{flag} {}` for all \
             of them",
            SocketAddr::new(unspecified(ip), port)
        ),
        ErrorKind::AddrInUse if port == 0 => "no port is free".to_owned(),
        ErrorKind::AddrInUse => format!(
            "port {port} is taken by another program: end that, or use another port, such as \
             `{flag} {}`",
            at(unprivileged(port))
        ),
        _ if Errno::from_io_error(error) == Some(Errno::AFNOSUPPORT) => {
            let (version, other) = match ip {
                IpAddr::V4(_) => ("IPv4", "[::1]"),
                IpAddr::V6(_) => ("IPv6", "127.0.0.1"),
            };
            format!("this machine has no {version}: use `{flag} {other}:{port}`")
        }
        _ if is_unscoped(addr) => format!(
            "a link-local address needs its interface: write `{flag} [{ip}%eth0]:{port}`, with the \
             interface's name"
        ),
        _ => error.to_string(),
    };
    format!("could not listen on {addr}: {why}")
}

/// Returns a port that requires no privilege and differs from `port`.
fn unprivileged(port: u16) -> u16 {
    match port {
        80 => 8080,
        443 => 8443,
        0..FIRST_UNPRIVILEGED_PORT => 8000 + port,
        u16::MAX => 8000,
        _ => port + 1,
    }
}

fn unspecified(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    }
}

/// Returns whether this is a link-local IPv6 address without an interface.
fn is_unscoped(addr: SocketAddr) -> bool {
    matches!(addr, SocketAddr::V6(addr) if addr.ip().is_unicast_link_local() && addr.scope_id() == 0)
}

/// Serializes an address, for serde.
///
/// # Errors
///
/// Fails if the serializer fails.
pub(crate) fn serialize<S: Serializer>(addr: &SocketAddr, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(addr)
}

/// Deserializes an address, for serde: text that [`parse`] accepts, or a port as an integer.
///
/// # Errors
///
/// Fails if [`parse`] rejects the text, or the value is neither text nor a port.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    struct Addr;

    impl Visitor<'_> for Addr {
        type Value = SocketAddr;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(EXPECTED)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
            parse(text).map_err(E::custom)
        }

        fn visit_i64<E: Error>(self, port: i64) -> Result<SocketAddr, E> {
            let port = u16::try_from(port).map_err(|_| {
                E::invalid_value(Unexpected::Signed(port), &"a port from 0 to 65535")
            })?;
            Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
        }
    }

    from.deserialize_any(Addr)
}

/// Optional addresses. Pair with `skip_serializing_if`.
pub(crate) mod optional {
    use std::net::SocketAddr;

    use serde::{Deserializer, Serializer};

    use crate::server::addr;

    /// Serializes an optional address, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the serializer fails.
    pub(crate) fn serialize<S: Serializer>(
        addr: &Option<SocketAddr>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match addr {
            Some(addr) => addr::serialize(addr, to),
            None => to.serialize_none(),
        }
    }

    /// Deserializes an optional address, for serde.
    ///
    /// # Errors
    ///
    /// Fails if the value isn't an address.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        addr::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_in_each_form_that_people_write() {
        for (text, addr) in [
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("8000", "127.0.0.1:8000"),
            (":8000", "127.0.0.1:8000"),
            ("localhost:8000", "127.0.0.1:8000"),
            ("[::1]:80", "[::1]:80"),
            ("[fe80::1%7]:80", "[fe80::1%7]:80"),
            ("[fe80::1%lo]:80", "[fe80::1%1]:80"),
        ] {
            let parsed = parse(text).map(|addr| addr.to_string());
            assert_eq!(parsed.as_deref(), Ok(addr), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_with_what_to_write() {
        for (text, said) in [
            ("", "expected an address such as"),
            (":", "expected a port from 0 to 65535, found \"\""),
            ("127.0.0.1", "the port is missing: write \"127.0.0.1:8000\""),
            ("localhost", "the port is missing: write \"localhost:8000\""),
            ("localhost:", "expected a port from 0 to 65535, found \"\""),
            ("localhost:http", "a port from 0 to 65535, found \"http\""),
            ("localhost:65536", "a port from 0 to 65535, found \"65536\""),
            ("65536", "a port from 0 to 65535, found \"65536\""),
            (":-1", "expected a port from 0 to 65535, found \"-1\""),
            (
                "::1",
                "in brackets, followed by its port: write \"[::1]:8000\"",
            ),
            ("::1:8000", "write \"[::1:8000]:8000\""),
            ("[::1]", "write \"[::1]:8000\""),
            ("[::1:80", "found host \"[:"),
            ("*:80", "write \"0.0.0.0:80\" for every IPv4 address"),
            (
                "http://localhost:8000/",
                "not a URL: write \"localhost:8000\"",
            ),
            (
                "/run/wasgi.sock",
                "Unix sockets and paths are not supported",
            ),
            (
                "unix:/run/wasgi.sock",
                "Unix sockets and paths are not supported",
            ),
            ("a b:80", "found host \"a b\""),
            (
                "no-such-host.invalid:80",
                "no-such-host.invalid does not resolve",
            ),
            ("[no-such%scope]:80", "no-such%scope does not resolve"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
        let long = format!("{}:80", "a".repeat(MAX_NAME_BYTES + 1));
        assert!(parse(&long).is_err());
    }

    #[test]
    fn each_refusal_of_the_system_says_what_to_do() {
        for (addr, errno, said) in [
            (
                "127.0.0.1:80",
                Errno::ACCESS,
                "could not listen on 127.0.0.1:80: ports below 1024 need a privilege: use `--addr \
                 127.0.0.1:8080`, or grant CAP_NET_BIND_SERVICE",
            ),
            (
                "[::]:443",
                Errno::ACCESS,
                "use `--addr [::]:8443`, or grant",
            ),
            ("0.0.0.0:1023", Errno::ACCESS, "use `--addr 0.0.0.0:9023`"),
            ("127.0.0.1:1024", Errno::ACCESS, "its security policy"),
            (
                "10.9.9.9:80",
                Errno::ADDRNOTAVAIL,
                "this machine has no address 10.9.9.9: use one of its addresses, or `--addr \
                 0.0.0.0:80`",
            ),
            (
                "[2001:db8::1]:80",
                Errno::ADDRNOTAVAIL,
                "no address 2001:db8::1: use one of its addresses, or `--addr [::]:80`",
            ),
            (
                "127.0.0.1:8000",
                Errno::ADDRINUSE,
                "port 8000 is taken by another program: end that, or use another port, such as \
                 `--addr 127.0.0.1:8001`",
            ),
            (
                "127.0.0.1:65535",
                Errno::ADDRINUSE,
                "`--addr 127.0.0.1:8000`",
            ),
            ("127.0.0.1:0", Errno::ADDRINUSE, "no port is free"),
            (
                "[::1]:80",
                Errno::AFNOSUPPORT,
                "has no IPv6: use `--addr 127.0.0.1:80`",
            ),
            (
                "127.0.0.1:80",
                Errno::AFNOSUPPORT,
                "has no IPv4: use `--addr [::1]:80`",
            ),
            ("[fe80::1]:80", Errno::INVAL, "`--addr [fe80::1%eth0]:80`"),
            (
                "127.0.0.1:80",
                Errno::MFILE,
                "127.0.0.1:80: Too many open files",
            ),
        ] {
            let addr = addr.parse().expect(addr);
            let refusal = refusal(addr, "--addr", &errno.into());
            assert!(refusal.contains(said), "{addr}: {refusal}");
        }
    }
}
