//! Requests to one registry: for manifests and blobs, with a password or a token if it asks for
//! one, and to where it redirects them.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, LOCATION, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use serde::Deserialize;

use super::auth::{self, Challenge};
use super::credentials::Known;
use super::location::{Location, check_named_address};
use super::manifest::ACCEPTED;
use super::options::OciOptions;
use super::reference::Reference;
use crate::outbound::own::Client;
use crate::outbound::{Download, Until};

/// The maximum number of redirects of one request: a registry's own, to its storage, and a few of
/// that.
const MAX_REDIRECTS_COUNT: usize = 5;

/// The maximum size of a document that describes an error, in bytes.
const MAX_ERROR_BYTES: usize = 64 << 10;

/// The maximum length of an error's code, in bytes: the longest that is defined has 22.
const MAX_CODE_BYTES: usize = 60;

/// The registry of one artifact.
pub(super) struct Registry<'c> {
    client: &'c Client,
    /// Where its requests start.
    base: Location,
    repository: String,
    known: Known,
    /// What it wants to see, once it has asked for it.
    authorization: Option<HeaderValue>,
    /// Its address, once there was a connection.
    address: Option<IpAddr>,
    until: Until<'c>,
}

impl<'c> Registry<'c> {
    /// Prepares requests for the repository of a reference.
    ///
    /// # Errors
    ///
    /// Fails if the file with passwords can't be read.
    pub(super) fn new(
        client: &'c Client,
        reference: &Reference,
        options: &OciOptions,
        until: Until<'c>,
    ) -> anyhow::Result<Self> {
        let name = reference.registry();
        let base = reference.location(options, String::new());
        Ok(Self {
            client,
            base: base.map_err(anyhow::Error::msg)?,
            repository: reference.repository(),
            known: Known::find(name, options.credentials.as_deref())?,
            authorization: None,
            address: None,
            until,
        })
    }

    /// Asks for a manifest, by its tag or digest.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or if the registry doesn't answer.
    pub(super) fn manifest(&mut self, reference: &str) -> anyhow::Result<Download<'c>> {
        let target = format!("/v2/{}/manifests/{reference}", self.repository);
        self.get(target)
    }

    /// Asks for a blob, by its digest.
    ///
    /// # Errors
    ///
    /// Fails if there is none, or if the registry doesn't answer.
    pub(super) fn blob(&mut self, digest: &str) -> anyhow::Result<Download<'c>> {
        let target = format!("/v2/{}/blobs/{digest}", self.repository);
        self.get(target)
    }

    /// Sends a request, once more with a password or a token if that is asked for.
    fn get(&mut self, target: String) -> anyhow::Result<Download<'c>> {
        let location = Location {
            target,
            ..self.base.clone()
        };
        let (mut response, is_own) = self.follow(&location)?;
        // Another host could name an issuer of tokens of its own, which would get the password.
        let asks = response.status == StatusCode::UNAUTHORIZED && is_own;
        if asks && self.authorization.is_none() {
            self.authorize(&response)?;
            (response, _) = self.follow(&location)?;
        }
        match response.status {
            StatusCode::OK => Ok(response),
            status => Err(self.refused(status, &mut response)),
        }
    }

    /// Sends a request and follows redirects. Only the registry itself gets its password or token.
    /// Returns the response, and whether it is the registry's own.
    fn follow(&mut self, location: &Location) -> anyhow::Result<(Download<'c>, bool)> {
        let mut location = location.clone();
        for _ in 0..=MAX_REDIRECTS_COUNT {
            let is_own = location.has_origin_of(&self.base);
            let authorization = self.authorization.clone().filter(|_| is_own);
            let response = self.send(&location, authorization)?;
            let is_redirect = matches!(response.status.as_u16(), 301 | 302 | 303 | 307 | 308);
            if !is_redirect {
                return Ok((response, is_own));
            }
            let next = response.fields.get(LOCATION);
            let next = next.and_then(|value| value.to_str().ok());
            let next = next.context("redirects to no location")?;
            let next = location.redirected(next).map_err(anyhow::Error::msg);
            location = self.named(next.context("redirects to")?)?;
        }
        bail!("redirects more than {MAX_REDIRECTS_COUNT} times");
    }

    /// Checks a location that the registry has named: no encryption is given up.
    fn named(&self, location: Location) -> anyhow::Result<Location> {
        ensure!(
            location.is_https || !self.base.is_https,
            "names http://{}, which is not encrypted",
            location.authority()
        );
        Ok(location)
    }

    fn send(
        &mut self,
        location: &Location,
        authorization: Option<HeaderValue>,
    ) -> anyhow::Result<Download<'c>> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = location
            .target
            .parse()
            .context("has a URL that can't be sent")?;
        let authority = location.authority();
        let fields = request.headers_mut();
        fields.insert(HOST, HeaderValue::from_str(&authority)?);
        fields.insert(USER_AGENT, HeaderValue::from_static(crate::SERVER_SOFTWARE));
        fields.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        if let Some(authorization) = authorization {
            fields.insert(AUTHORIZATION, authorization);
        }
        let is_own = location.has_origin_of(&self.base);
        let own = self.address;
        let is_allowed = |address| match own {
            Some(own) if !is_own => check_named_address(own, address),
            _ => Ok(()),
        };
        let sent = self
            .client
            .download(location.peer(), request, &is_allowed, self.until);
        let response = sent.map_err(|error| match is_own {
            true => anyhow::anyhow!("{error}"),
            false => anyhow::anyhow!("{authority}: {error}"),
        })?;
        if is_own {
            self.address = Some(response.address);
        }
        Ok(response)
    }

    /// Gets what the registry asks for.
    fn authorize(&mut self, response: &Download<'_>) -> anyhow::Result<()> {
        let challenge = Challenge::find(&response.fields)
            .context("asks for a kind of password that is not supported (status 401)")?;
        let password = self.known.credentials.as_ref().and_then(|it| it.basic());
        let (realm, service) = match challenge {
            Challenge::Basic => {
                let password = password.with_context(|| self.no_password("asks for a password"))?;
                self.authorization = Some(password);
                return Ok(());
            }
            Challenge::Bearer { realm, service } => (realm, service),
        };
        let url = auth::token_url(&realm, &service, &self.repository);
        let location = Location::parse(&url).map_err(anyhow::Error::msg);
        let location = self.named(location.context("names as the issuer of tokens")?)?;
        let mut response = self.send(&location, password)?;
        let authority = location.authority();
        ensure!(
            response.status == StatusCode::OK,
            "{}",
            self.no_password(&format!(
                "gives no token (status {} of {authority})",
                response.status.as_u16()
            ))
        );
        let document = response
            .whole(auth::MAX_TOKEN_DOCUMENT_BYTES)
            .map_err(|error| anyhow::anyhow!("{authority}: {error}"))?;
        let token = auth::bearer(&document);
        let token = token.map_err(|why| anyhow::anyhow!("gives no token: {authority}: {why}"))?;
        self.authorization = Some(token);
        Ok(())
    }

    /// Describes a response that is not what was asked for.
    fn refused(&self, status: StatusCode, response: &mut Download<'_>) -> anyhow::Error {
        let code = response.whole(MAX_ERROR_BYTES).ok();
        let code = code.and_then(|document| error_code(&document));
        let code = code.map_or(String::new(), |code| format!(", {code}"));
        let status_shown = status.as_u16();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let what = format!("refuses access (status {status_shown}{code})");
                anyhow::Error::msg(self.no_password(&what))
            }
            StatusCode::NOT_FOUND => {
                anyhow::anyhow!("has no such artifact (status {status_shown}{code})")
            }
            _ => anyhow::anyhow!("answers with status {status_shown}{code}"),
        }
    }

    /// Adds to an error what is known about the password.
    fn no_password(&self, what: &str) -> String {
        match (&self.known.credentials, &self.known.note) {
            (Some(_), _) => format!("{what}, with the password that is set for it"),
            (None, Some(note)) => format!("{what}: {note}"),
            (None, None) => {
                format!("{what}, and no password is set for it: see docs/registries.md")
            }
        }
    }
}

/// Returns the code in a document that describes an error (OCI Distribution Specification 1.1,
/// "Error Codes").
fn error_code(document: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Document {
        errors: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        code: String,
    }
    let document: Document = serde_json::from_slice(document).ok()?;
    let code = document.errors.into_iter().next()?.code;
    let is_code = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (code.len() <= MAX_CODE_BYTES && code.bytes().all(is_code)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_of_an_error_is_shown() {
        let code = |text: &str| error_code(text.as_bytes());
        let good = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"a","detail":{}}]}"#;
        assert_eq!(code(good).as_deref(), Some("MANIFEST_UNKNOWN"));
        for bad in [
            "",
            "{}",
            r#"{"errors":[]}"#,
            r#"{"errors":[{"code":"\u001b[2J"}]}"#,
            &format!(r#"{{"errors":[{{"code":"{}"}}]}}"#, "A".repeat(61)),
        ] {
            assert_eq!(code(bad), None, "{bad}");
        }
    }
}
