//! The listener for plain HTTP: redirects to https, and answers to challenges for certificates.

use std::borrow::Cow;

use crate::gateway::Origin;
use crate::http1::{RequestHead, split_authority};
use crate::static_files::{Answer, Content};

/// The default port of https (RFC 9110 section 4.2.2).
const HTTPS_PORT: u16 = 443;

/// Returns the host of a request in text form, if it names one.
pub(super) fn host<'own>(head: &'own RequestHead, origin: &'own Origin) -> Option<&'own str> {
    let host = match &origin.host {
        Some(host) => host,
        None => split_authority(head.authority())?.0,
    };
    std::str::from_utf8(host).ok()
}

/// Returns the answer to a challenge for a certificate (RFC 8555 section 8.3).
pub(super) fn of_challenge(head: &RequestHead, response: Vec<u8>) -> Answer {
    if !matches!(head.method(), "GET" | "HEAD") {
        return Answer {
            status: 405,
            fields: vec![("Allow".into(), Cow::Borrowed(b"GET, HEAD"))],
            body: Content::Empty,
        };
    }
    let content_type = Cow::Borrowed(&b"application/octet-stream"[..]);
    Answer {
        status: 200,
        fields: vec![
            ("Content-Type".into(), content_type),
            ("Cache-Control".into(), Cow::Borrowed(b"no-store")),
        ],
        body: Content::Bytes(response.into()),
    }
}

/// Returns a redirect to the same URL with https and this port. `None` if the request names no
/// host.
///
/// The redirect is permanent: 301 for GET and HEAD. Clients may turn a redirected POST into a GET
/// after 301, so other methods get 308, which keeps the method (RFC 9110 section 15.4.9).
pub(super) fn to_https(head: &RequestHead, origin: &Origin, port: u16) -> Option<Answer> {
    let host = match &origin.host {
        Some(host) => host,
        None => split_authority(head.authority())?.0,
    };
    let path = head.path();
    if path == b"*" {
        return None;
    }
    let mut location = [b"https://", host].concat();
    if port != HTTPS_PORT {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(path);
    if !head.query().is_empty() {
        location.push(b'?');
        location.extend_from_slice(head.query());
    }
    let status = match head.method() {
        "GET" | "HEAD" => 301,
        _ => 308,
    };
    Some(Answer {
        status,
        fields: vec![("Location".into(), Cow::Owned(location))],
        body: Content::Empty,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::gateway::Scheme;
    use crate::http1::{self, Incoming};

    fn answer(request: &str, host: Option<&str>, port: u16) -> Option<(u16, String)> {
        let now = Instant::now();
        let mut connection = http1::Connection::new(Arc::default(), now);
        connection.receive(request.as_bytes(), now);
        let Some(Incoming::Request(head)) = connection.next_request(now) else {
            panic!("no request: {request}");
        };
        let origin = Origin {
            peer: "192.0.2.1:1".parse().expect("an address"),
            local: "192.0.2.2:80".parse().expect("an address"),
            scheme: Scheme::Http,
            host: host.map(|host| host.as_bytes().to_vec()),
        };
        let answer = to_https(&head, &origin, port)?;
        let [(name, location)] = &*answer.fields else {
            panic!("{:?}", answer.fields);
        };
        assert_eq!(name, "Location");
        let location = String::from_utf8_lossy(location).into_owned();
        Some((answer.status, location))
    }

    #[test]
    fn a_redirect_leads_to_the_same_url_with_https() {
        for (request, port, status, location) in [
            (
                "GET / HTTP/1.1\r\nHost: a.b\r\n\r\n",
                443,
                301,
                "https://a.b/",
            ),
            (
                "HEAD //x/%2F?q=1?&r HTTP/1.1\r\nHost: a.b:8080\r\n\r\n",
                443,
                301,
                "https://a.b//x/%2F?q=1?&r",
            ),
            (
                "POST /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
                8443,
                308,
                "https://[::1]:8443/x",
            ),
            (
                "GET http://c.d/y HTTP/1.1\r\nHost: a.b\r\n\r\n",
                443,
                301,
                "https://c.d/y",
            ),
        ] {
            let expected = Some((status, location.to_owned()));
            assert_eq!(answer(request, None, port), expected, "{request}");
        }
        let request = "GET /x HTTP/1.1\r\nHost: inner\r\n\r\n";
        let expected = Some((301, "https://public.example/x".to_owned()));
        assert_eq!(answer(request, Some("public.example"), 443), expected);
    }

    #[test]
    fn a_request_that_is_for_nowhere_is_not_sent_on() {
        assert_eq!(answer("GET / HTTP/1.0\r\n\r\n", None, 443), None);
        let request = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(answer(request, None, 443), None);
    }
}
