//! The HTTP client of the library that speaks ACME, over the server's own client.
//!
//! The directory is a stranger: what it sends is limited in size and time, and its URLs must have
//! the scheme, host and port of the directory's own, so that it can't make the server send requests
//! to others.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};

use super::record::MAX_WANTED_PAUSE;
use crate::outbound::Authorities;
use crate::outbound::own::{self, Peer};

/// The time for one request. Let's Encrypt answers within a second or two, but not always.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum time that the directory can ask for between two requests of an order.
const MAX_POLL_PAUSE: Duration = Duration::from_secs(60);

const REPLAY_NONCE: HeaderName = HeaderName::from_static("replay-nonce");

/// The client of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    directory: Uri,
    authorities: Option<Authorities>,
    /// How long the directory wants no other attempt, by its last refusal.
    wanted_pause: Mutex<Option<Duration>>,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Client {
    /// Creates a client for requests to the directory's host.
    pub(super) fn new(directory: Uri, authorities: Option<Authorities>) -> Self {
        Self(Arc::new(Shared {
            directory,
            authorities,
            wanted_pause: Mutex::new(None),
        }))
    }

    /// Returns how long the directory wants no other attempt, if it has refused a request with such
    /// a wish.
    pub(super) fn wanted_pause(&self) -> Option<Duration> {
        *self.lock()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Duration>> {
        let wanted = &self.0.wanted_pause;
        wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, BoxError> {
        let (mut head, body) = request.into_parts();
        let uri = std::mem::take(&mut head.uri);
        let shown = uri.path().to_owned();
        if !is_same_origin(&self.0.directory, &uri) {
            return Err(format!("{uri}: is not on the directory's host").into());
        }
        let authority = uri.authority().ok_or("a URL has no host")?.clone();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = Uri::try_from(path)?;
        head.headers.insert(HOST, authority.as_str().parse()?);
        let agent = HeaderValue::from_static(crate::SERVER_SOFTWARE);
        head.headers.insert(USER_AGENT, agent);
        let body = body.collect().await?.to_bytes();
        let peer = Peer {
            is_https: true,
            host: authority.host(),
            port: authority.port_u16().unwrap_or(443),
            authorities: self.0.authorities.as_ref(),
        };
        let sent = own::send(peer, Request::from_parts(head, body), TIMEOUT).await;
        let reply = sent.map_err(|error| format!("{shown}: {error}"))?;
        let pause = retry_after(&reply.fields);
        if !reply.status.is_success() {
            *self.lock() = pause;
            let content_type = reply.fields.get(CONTENT_TYPE);
            let content_type = content_type.and_then(|it| it.to_str().ok());
            if !content_type.is_some_and(|it| it.contains("json")) {
                return Err(format!("{shown}: status {}", reply.status.as_u16()).into());
            }
        }
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        // Only what is known to be harmless: the library adds any time to the clock's.
        for name in [REPLAY_NONCE, LOCATION, CONTENT_TYPE] {
            if let Some(value) = reply.fields.get(&name) {
                response.headers_mut().insert(name, value.clone());
            }
        }
        if let Some(pause) = pause {
            let seconds = pause.min(MAX_POLL_PAUSE).as_secs();
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        Ok(response.into())
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move { client.send(request).await.map_err(Error::Other) })
    }
}

/// Returns whether a URL has the scheme, host and port of the directory.
fn is_same_origin(directory: &Uri, other: &Uri) -> bool {
    let port = |uri: &Uri| uri.port_u16().unwrap_or(443);
    let host = |uri: &Uri| uri.host().map(str::to_ascii_lowercase);
    let user = |uri: &Uri| uri.authority().is_some_and(|it| it.as_str().contains('@'));
    other.scheme_str() == Some("https")
        && host(directory) == host(other)
        && port(directory) == port(other)
        && !user(other)
}

/// Returns the time of `Retry-After` (RFC 9110 section 10.2.3), at most [`MAX_WANTED_PAUSE`].
fn retry_after(fields: &HeaderMap) -> Option<Duration> {
    let value = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let pause = match is_number {
        true => value.parse().map_or(Duration::MAX, Duration::from_secs),
        false => {
            let time = httpdate::parse_http_date(value).ok()?;
            let left = time.duration_since(SystemTime::now());
            left.unwrap_or_default()
        }
    };
    Some(pause.min(MAX_WANTED_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_stay_on_the_directorys_host() {
        let directory = Uri::from_static("https://ca.test:14000/dir");
        let is_same = |other: &str| is_same_origin(&directory, &other.parse().expect(other));
        assert!(is_same("https://ca.test:14000/new-order?x"));
        assert!(is_same("https://CA.test:14000/new-order"));
        for other in [
            "https://ca.test/new-order",
            "http://ca.test:14000/new-order",
            "https://127.0.0.1:14000/",
            "https://a@ca.test:14000/",
            "https://ca.test.evil:14000/",
            "/new-order",
        ] {
            assert!(!is_same(other), "{other}");
        }
    }

    #[test]
    fn a_pause_is_a_number_or_a_date_and_never_long() {
        let parse = |value: &str| {
            let mut fields = HeaderMap::new();
            fields.insert(RETRY_AFTER, value.parse().expect("a value"));
            retry_after(&fields)
        };
        assert_eq!(parse("120"), Some(Duration::from_secs(120)));
        assert_eq!(parse("18446744073709551615"), Some(MAX_WANTED_PAUSE));
        assert_eq!(parse("99999999999999999999999"), Some(MAX_WANTED_PAUSE));
        assert_eq!(
            parse("Fri, 31 Dec 9999 23:59:59 GMT"),
            Some(MAX_WANTED_PAUSE)
        );
        assert_eq!(parse("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-1"), None);
    }
}
