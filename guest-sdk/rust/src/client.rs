//! HTTP requests to other hosts, with the feature `client`.
//!
//! The server's operator grants hosts in `wasgi.toml`; a request to another one fails with
//! [`Error::Denied`].
//!
//! ```
//! use wasgi_sdk::{Result, client};
//!
//! fn temperature() -> Result<String> {
//!     let response = client::get("https://api.example.com/temperature")?;
//!     Ok(response.into_body().text()?)
//! }
//! ```
//!
//! In native builds, [`testing::upstream`](crate::testing::upstream) answers the requests.
//!
//! Redirects are not followed, and each request has its own response: the server reuses
//! connections.

use std::fmt;
use std::io::{self, Read};

use http::{Request, Response};

mod error;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
use native as sending;
#[cfg(target_arch = "wasm32")]
use wasm as sending;

pub use error::Error;

/// The body of a response from another host, read as it arrives.
pub struct Incoming(sending::Incoming);

impl Incoming {
    /// Reads the whole body.
    ///
    /// # Errors
    /// Fails if the body ends early, or has not arrived in time.
    pub fn bytes(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads the whole body as UTF-8.
    ///
    /// # Errors
    /// Fails if the body ends early, has not arrived in time, or is not UTF-8.
    pub fn text(self) -> io::Result<String> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// Sends a GET request.
///
/// # Errors
/// Fails if there is no response. A response with an error status is a response.
pub fn get(url: &str) -> Result<Response<Incoming>, Error> {
    let request = Request::get(url).body("");
    send(request.map_err(|error| Error::Invalid(error.to_string()))?)
}

/// Sends a request, whose URL must be absolute. The server sets `Host` and the fields of the
/// connection.
///
/// # Errors
/// Fails if there is no response. A response with an error status is a response.
pub fn send<B: AsRef<[u8]>>(request: Request<B>) -> Result<Response<Incoming>, Error> {
    let (parts, body) = request.into_parts();
    let has_host = matches!(parts.uri.scheme_str(), Some("http" | "https"));
    if !has_host || parts.uri.authority().is_none() {
        return Err(Error::Invalid(
            "the URL must be absolute, with http or https".into(),
        ));
    }
    let response = sending::send(&parts, body.as_ref())?;
    Ok(response.map(Incoming))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_request_reaches_the_upstream_of_a_test() {
        let _upstream = testing::upstream(|request: Request<Vec<u8>>| {
            let text = format!(
                "{} {} {:?}",
                request.method(),
                request.uri(),
                request.body()
            );
            Response::builder()
                .status(201)
                .body(text.into_bytes())
                .expect("good")
        });
        let request = Request::post("http://a.test/b?c").body("x").expect("good");
        let response = send(request).expect("answered");
        assert_eq!(response.status(), 201);
        let text = response.into_body().text().expect("text");
        assert_eq!(text, "POST http://a.test/b?c [120]");
    }

    #[test]
    fn without_a_grant_a_request_is_denied() {
        assert_eq!(get("https://a.test/").err(), Some(Error::Denied));
        for url in ["/path", "a.test", "ftp://a.test/", "no url"] {
            let error = get(url).expect_err(url);
            assert!(matches!(error, Error::Invalid(_)), "{url}: {error}");
        }
    }
}
