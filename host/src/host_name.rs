//! The names of virtual hosts, and of the handlers that belong to one.
//!
//! A handler of the virtual host `example.com` has the full name `//example.com/shop`, in logs,
//! metrics and buckets of state. No handler of the site itself can have such a name, because its
//! name is a path in the folder of handlers.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The maximum length of a host's name, in bytes: that of a domain name in text form without the
/// last dot (RFC 1035 section 2.3.4).
const MAX_NAME_BYTES: usize = 253;

/// The maximum length of a label, in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL_BYTES: usize = 63;

/// The front of a name that stands for all names with one label in its place.
const WILDCARD: &str = "*.";

/// The front of a full name.
const FULL: &str = "//";

/// Values by the names of hosts. A name `*.example.com` stands for all names with one more label,
/// as in a certificate (RFC 9525 section 6.3), except for those that have a value of their own.
#[derive(Clone, Debug)]
pub(crate) struct HostMap<T> {
    exact: HashMap<Box<str>, T>,
    /// By the name after `*.`.
    wildcards: HashMap<Box<str>, T>,
}

impl<T> HostMap<T> {
    /// Sets the value of a name that [`check`] accepts. Returns the value that it had.
    pub(crate) fn insert(&mut self, name: &str, value: T) -> Option<T> {
        match name.strip_prefix(WILDCARD) {
            Some(rest) => self.wildcards.insert(rest.into(), value),
            None => self.exact.insert(name.into(), value),
        }
    }

    /// Returns the value for the host of a request, which is given without port. Upper case and a
    /// dot at the end don't matter. The host may have any length and contain any bytes.
    pub(crate) fn get(&self, host: &[u8]) -> Option<&T> {
        let mut buffer = [0; MAX_NAME_BYTES];
        let name = normalized(host, &mut buffer)?;
        self.exact.get(name).or_else(|| {
            let (first, rest) = name.split_once('.')?;
            self.wildcards.get(rest).filter(|_| !first.is_empty())
        })
    }
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
        }
    }
}

/// Returns a name in lower case without the dot at its end, in `buffer`. `None` for names that no
/// host can have, because they are too long or not ASCII.
fn normalized<'b>(name: &[u8], buffer: &'b mut [u8; MAX_NAME_BYTES]) -> Option<&'b str> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let buffer = buffer.get_mut(..name.len())?;
    buffer.copy_from_slice(name);
    buffer.make_ascii_lowercase();
    std::str::from_utf8(buffer).ok()
}

/// Checks a host's name in the configuration: a domain name, `*.` and a domain name, or an address.
///
/// # Errors
///
/// Fails with what is wrong with it.
pub(crate) fn check(name: &str) -> Result<(), String> {
    let bare = name.strip_prefix(WILDCARD).unwrap_or(name);
    let is_address = name.parse::<Ipv4Addr>().is_ok()
        || name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    if is_address && !name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(());
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!("a host's name has at most {MAX_NAME_BYTES} bytes"));
    }
    if !name.is_ascii() {
        return Err("is not ASCII: write its labels in the form xn--…".into());
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("write it in lower case: {}", name.to_lowercase()));
    }
    if let Some((host, port)) = bare.rsplit_once(':')
        && (host.ends_with(']') || !host.contains(':'))
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!(
            "write it without port, which doesn't matter: {host}"
        ));
    }
    let is_label = |label: &str| {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(is_good)
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = bare.split('.').all(is_label) && !bare.rsplit('.').take(1).all(is_number);
    match is_name {
        true => Ok(()),
        false => Err(
            "is no name of a host: expected one such as example.com, *.example.com, \
                      192.0.2.1 or [2001:db8::1]"
                .into(),
        ),
    }
}

/// Returns the full name of a handler: `//example.com/shop` for one of a virtual host, and its name
/// for one of the site itself.
pub(crate) fn full_name(host: Option<&str>, handler: &str) -> String {
    match host {
        Some(host) => format!("{FULL}{host}/{handler}"),
        None => handler.to_owned(),
    }
}

/// Splits the full name of a handler into the virtual host, if it belongs to one, and the handler's
/// name in its folder.
pub(crate) fn split(full_name: &str) -> (Option<&str>, &str) {
    let split = full_name.strip_prefix(FULL);
    match split.and_then(|rest| rest.split_once('/')) {
        Some((host, handler)) => (Some(host), handler),
        None => (None, full_name),
    }
}

/// Returns the front of an identifier that belongs to the virtual host of a handler with this full
/// name: `//example.com/`. Empty for a handler of the site itself.
pub(crate) fn front(full_name: &str) -> &str {
    let (_, handler) = split(full_name);
    full_name.strip_suffix(handler).unwrap_or_default()
}

/// Adds the virtual host to a message about something of its.
pub(crate) fn of_host(host: Option<&str>, text: String) -> String {
    match host {
        Some(host) => format!("{text} (host {host})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_found_whatever_its_case_and_dot() {
        let mut map = HostMap::default();
        assert_eq!(map.insert("example.com", 1), None);
        assert_eq!(map.insert("*.example.com", 2), None);
        assert_eq!(map.insert("www.example.com", 3), None);
        assert_eq!(map.insert("[2001:db8::1]", 4), None);
        assert_eq!(map.insert("example.com", 1), Some(1));
        let long = "a".repeat(MAX_NAME_BYTES - "example.com".len() - 1) + ".example.com";
        for (host, found) in [
            ("example.com", Some(1)),
            ("EXAMPLE.com.", Some(1)),
            ("www.example.com", Some(3)),
            ("a.example.com", Some(2)),
            ("A.Example.Com.", Some(2)),
            ("a.b.example.com", None),
            (".example.com", None),
            ("example.com..", None),
            ("*.example.com", Some(2)),
            ("[2001:DB8::1]", Some(4)),
            ("", None),
            (".", None),
            ("com", None),
            ("exämple.com", None),
            (&long, Some(2)),
            (&format!("a{long}"), None),
            (&"a.".repeat(10_000), None),
        ] {
            assert_eq!(map.get(host.as_bytes()).copied(), found, "{host}");
        }
        assert_eq!(map.get(b"\xff.example.com"), None);
    }

    #[test]
    fn a_name_in_the_configuration_is_one_that_a_request_can_have() {
        for good in [
            "example.com",
            "localhost",
            "*.example.com",
            "a_b.example",
            "xn--bcher-kva.example",
            "127.0.0.1",
            "[::1]",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
            let mut map = HostMap::default();
            map.insert(good, ());
            let asked = good.replace('*', "x");
            assert!(map.get(asked.as_bytes()).is_some(), "{good}");
        }
        let long = "a.".repeat(127);
        for (bad, why) in [
            ("", "is no name"),
            ("*", "is no name"),
            ("*.", "is no name"),
            ("a.*.b", "is no name"),
            ("example.com.", "is no name"),
            ("a/b", "is no name"),
            ("user@host", "is no name"),
            ("::1", "is no name"),
            ("1.2.3.4.5", "is no name"),
            ("*.0.0.1", "is no name"),
            ("Example.com", "lower case: example.com"),
            ("example.com:80", "without port"),
            ("bücher.example", "xn--"),
            (&long, "at most 253"),
            (&"a".repeat(64), "is no name"),
        ] {
            let said = check(bad).expect_err(bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
    }

    #[test]
    fn a_full_name_has_one_host_and_one_handler() {
        for (host, handler) in [
            (None, "shop"),
            (None, "users/[id]"),
            (Some("example.com"), "shop"),
            (Some("*.example.com"), "users/[id]"),
            (Some("[::1]"), "index"),
        ] {
            let full = full_name(host, handler);
            assert_eq!(split(&full), (host, handler), "{full}");
            assert_eq!(format!("{}{handler}", front(&full)), full);
        }
        assert_eq!(front("shop"), "");
    }
}
