//! Access control of the server's own endpoints. Allowed: a browser on this machine that shows a
//! page of this server, or a program on this machine.
//!
//! A web page elsewhere can send requests to a loopback address. It is recognised in two ways: its
//! `Origin` and `Sec-Fetch-Site`, which a page can't choose; and the `Host`, which is the page's
//! own name if that name was made to resolve to a loopback address (DNS rebinding).

use crate::http1::RequestHead;
use crate::loopback;

/// Why a request is not answered, for its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request's host is not a name of the loopback address.
    Host,
    /// The request comes from a page of another origin.
    Origin,
}

impl Refusal {
    /// Returns the reason as a sentence.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Host => {
                "wasgi dev answers here only under a loopback name: localhost, 127.0.0.1 or [::1]."
            }
            Self::Origin => "wasgi dev answers here only to its own pages.",
        }
    }
}

/// Checks a request for one of the server's own endpoints.
///
/// # Errors
///
/// Fails if the request has another host than a loopback name, or was caused by a page of another
/// origin. A request that can change something must prove its origin.
pub(crate) fn check(head: &RequestHead) -> Result<(), Refusal> {
    if !is_local(head) {
        return Err(Refusal::Host);
    }
    let mut sites = values(head, "Sec-Fetch-Site");
    if sites.any(|site| !matches!(site, b"same-origin" | b"none")) {
        return Err(Refusal::Origin);
    }
    let mut origins = values(head, "Origin");
    let is_own = |origin: &[u8]| is_own(origin, head.authority());
    let is_read = matches!(head.method(), "GET" | "HEAD");
    match origins.next() {
        Some(origin) if is_own(origin) && origins.next().is_none() => Ok(()),
        None if is_read => Ok(()),
        _ => Err(Refusal::Origin),
    }
}

/// Returns whether the request's host is a name of the loopback address, which no page elsewhere
/// can have.
pub(crate) fn is_local(head: &RequestHead) -> bool {
    // With an absolute target, the Host field is ignored; a browser sends none.
    head.target_authority().is_none()
        && values(head, "Host").count() == 1
        && loopback::is_authority(head.authority())
}

fn is_own(origin: &[u8], authority: &[u8]) -> bool {
    let rest = origin
        .strip_prefix(b"http://")
        .or_else(|| origin.strip_prefix(b"https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(authority))
}

fn values<'h>(head: &'h RequestHead, name: &'static str) -> impl Iterator<Item = &'h [u8]> {
    head.fields()
        .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::Limits;
    use crate::loopback::{LOOPBACK_NAMES, OTHER_NAMES};

    fn checked(method: &str, fields: &[&str]) -> Result<(), Refusal> {
        let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
        let text = format!("{method} /_wasgi/events HTTP/1.1\r\n{fields}\r\n");
        // A malformed host is rejected before this check.
        let parsed = RequestHead::parse(text.as_bytes(), &Limits::default());
        let (head, _) = parsed.map_err(|_| Refusal::Host)?.expect("complete");
        check(&head)
    }

    #[test]
    fn loopback_names_are_served() {
        for host in LOOPBACK_NAMES {
            assert_eq!(
                checked("GET", &[&format!("Host: {host}")]),
                Ok(()),
                "{host}"
            );
        }
    }

    #[test]
    fn a_name_that_was_made_to_resolve_to_this_machine_is_refused() {
        for host in OTHER_NAMES {
            let result = checked("GET", &[&format!("Host: {host}")]);
            assert_eq!(result, Err(Refusal::Host), "{host}");
        }
    }

    #[test]
    fn a_page_elsewhere_is_refused() {
        let host = "Host: localhost:8000";
        for field in [
            "Origin: https://evil.example",
            "Origin: http://localhost:8001",
            "Origin: http://localhost",
            "Origin: null",
            "Origin: localhost:8000",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            assert_eq!(
                checked("GET", &[host, field]),
                Err(Refusal::Origin),
                "{field}"
            );
            assert_eq!(
                checked("POST", &[host, field]),
                Err(Refusal::Origin),
                "{field}"
            );
        }
        let own = "Origin: http://localhost:8000";
        let two = [host, own, "Origin: https://evil.example"];
        assert_eq!(checked("GET", &two), Err(Refusal::Origin));
    }

    #[test]
    fn a_form_of_a_page_elsewhere_is_refused_even_without_an_origin() {
        let host = "Host: localhost:8000";
        assert_eq!(checked("POST", &[host]), Err(Refusal::Origin));
        assert_eq!(checked("DELETE", &[host]), Err(Refusal::Origin));
        for own in [
            "Origin: http://localhost:8000",
            "Origin: https://LOCALHOST:8000",
        ] {
            assert_eq!(checked("POST", &[host, own]), Ok(()));
        }
    }

    #[test]
    fn own_pages_and_programs_are_served() {
        let host = "Host: localhost:8000";
        for field in [
            "Origin: http://localhost:8000",
            "Sec-Fetch-Site: same-origin",
            "Sec-Fetch-Site: none",
            "Accept: */*",
        ] {
            assert_eq!(checked("GET", &[host, field]), Ok(()), "{field}");
        }
    }
}
