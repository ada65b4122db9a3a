//! The section `[acme]` of `wasgi.toml`.

use std::path::{Path, PathBuf};

use http::Uri;
use serde::{Deserialize, Serialize};

use crate::host_name;

/// The directory of Let's Encrypt.
const DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The name of the folder of certificates in the site's folder.
const FOLDER: &str = "acme";

/// The maximum number of names in one certificate: that of Let's Encrypt.
pub(crate) const MAX_NAMES_COUNT: usize = 100;

/// The maximum length of an email address, in bytes (RFC 5321 section 4.5.3.1.3).
const MAX_EMAIL_BYTES: usize = 254;

/// Which certificates to obtain by ACME (RFC 8555), and from where.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AcmeOptions {
    /// The names in the certificate of all hosts without another one. Default: none, without such
    /// a certificate.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Where the certificate authority sends messages about the account. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the operator agrees to the terms of service of the certificate authority.
    pub agree_to_terms: bool,
    /// The URL of the certificate authority's directory.
    pub directory: String,
    /// The certificate authorities, in PEM format, that the directory's own certificate may be
    /// from. Default: those that the system trusts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The folder of the account's key and of certificates. Default: `acme` in the site's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// How to prove that a name belongs to this server.
    pub challenge: ChallengeChoice,
}

/// How to prove that a name belongs to this server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChallengeChoice {
    /// HTTP-01 if there is a listener without TLS, or else TLS-ALPN-01; the other one, if it is
    /// possible, after a failure.
    #[default]
    Auto,
    /// A response on the listener without TLS (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
    /// A certificate on the listener with TLS (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// A key of the section with a wrong value: the key and the reason.
pub(crate) type WrongKey = (&'static str, String);

impl Default for AcmeOptions {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            email: None,
            agree_to_terms: false,
            directory: DIRECTORY.into(),
            ca: None,
            folder: None,
            challenge: ChallengeChoice::Auto,
        }
    }
}

impl AcmeOptions {
    /// Fills in unset values for the site in `folder`.
    pub fn settle(&mut self, folder: &Path) {
        self.folder
            .get_or_insert_with(|| match folder == Path::new(".") {
                true => FOLDER.into(),
                false => folder.join(FOLDER),
            });
    }

    /// Returns the folder of the account's key and of certificates.
    pub fn folder(&self) -> &Path {
        self.folder.as_deref().unwrap_or(Path::new(FOLDER))
    }

    /// Checks the values. `is_used` says whether a certificate is obtained, `has_plain_listener`
    /// whether there is a listener without TLS.
    ///
    /// # Errors
    ///
    /// Fails with the first key whose value is wrong.
    pub fn check(&self, is_used: bool, has_plain_listener: bool) -> Result<(), WrongKey> {
        if self.names.len() > MAX_NAMES_COUNT {
            let why = format!("has {} names, at most {MAX_NAMES_COUNT}", self.names.len());
            return Err(("acme.names", why));
        }
        for (index, name) in self.names.iter().enumerate() {
            check_name(name).map_err(|why| ("acme.names", format!("{name}: {why}")))?;
            if self.names.iter().take(index).any(|other| other == name) {
                return Err(("acme.names", format!("{name} is in it twice")));
            }
        }
        if let Some(email) = &self.email
            && !is_email(email)
        {
            let why = "expected an address such as admin@example.com".to_owned();
            return Err(("acme.email", why));
        }
        if port_of(&self.directory).is_none() {
            let why = format!("expected a URL such as {DIRECTORY}");
            return Err(("acme.directory", why));
        }
        if is_used && !self.agree_to_terms {
            let why = format!(
                "set it to true if you agree to the terms of service of the certificate authority \
                 ({})",
                self.directory
            );
            return Err(("acme.agree-to-terms", why));
        }
        if is_used && self.challenge == ChallengeChoice::Http01 && !has_plain_listener {
            let why = "http-01 needs a listener without TLS: set tls.redirect-http, such as \
                       \"0.0.0.0:80\""
                .to_owned();
            return Err(("acme.challenge", why));
        }
        Ok(())
    }

    /// Returns the port of the directory.
    pub fn port(&self) -> Option<u16> {
        port_of(&self.directory)
    }
}

/// Checks a name that a certificate is to be obtained for.
///
/// # Errors
///
/// Fails with the reason.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    host_name::check(name)?;
    if name.starts_with("*.") {
        return Err(
            "a certificate for all names of a domain takes a challenge by DNS, which wasgi \
                    doesn't support: list the names, or set cert and key"
                .into(),
        );
    }
    if name.contains('[') || name.parse::<std::net::IpAddr>().is_ok() {
        return Err("is an address: a certificate is obtained for names only".into());
    }
    if name.contains('_') {
        return Err("contains _, which no certificate may (RFC 5280)".into());
    }
    Ok(())
}

fn is_email(text: &str) -> bool {
    let is_good = |byte: u8| byte.is_ascii_graphic() && !b",:;<>?\"\\%".contains(&byte);
    text.len() <= MAX_EMAIL_BYTES
        && text.bytes().all(is_good)
        && text
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && host_name::check(host).is_ok())
}

/// Returns the port of an `https` URL. `None` for anything else.
fn port_of(url: &str) -> Option<u16> {
    let url: Uri = url.parse().ok()?;
    let authority = url.authority()?;
    let is_plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    (url.scheme_str() == Some("https") && is_plain).then(|| authority.port_u16().unwrap_or(443))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> AcmeOptions {
        AcmeOptions {
            names: vec!["example.com".into()],
            agree_to_terms: true,
            ..AcmeOptions::default()
        }
    }

    #[test]
    fn values_that_no_authority_accepts_are_refused() {
        options().check(true, false).expect("it is good");
        let name = |name: &str| AcmeOptions {
            names: vec![name.into()],
            ..options()
        };
        for (wrong, key) in [
            (name("*.example.com"), "acme.names"),
            (name("192.0.2.1"), "acme.names"),
            (name("[2001:db8::1]"), "acme.names"),
            (name("a_b.example.com"), "acme.names"),
            (name("../x"), "acme.names"),
            (name("Example.com"), "acme.names"),
            (
                AcmeOptions {
                    names: vec!["a.test".into(), "a.test".into()],
                    ..options()
                },
                "acme.names",
            ),
            (
                AcmeOptions {
                    names: (0..101).map(|it| format!("a{it}.test")).collect(),
                    ..options()
                },
                "acme.names",
            ),
            (
                AcmeOptions {
                    email: Some("mailto:a@b.test".into()),
                    ..options()
                },
                "acme.email",
            ),
            (
                AcmeOptions {
                    email: Some("a b".into()),
                    ..options()
                },
                "acme.email",
            ),
            (
                AcmeOptions {
                    directory: "http://ca.test/".into(),
                    ..options()
                },
                "acme.directory",
            ),
            (
                AcmeOptions {
                    directory: "https://a@ca.test/".into(),
                    ..options()
                },
                "acme.directory",
            ),
            (
                AcmeOptions {
                    directory: "ca.test".into(),
                    ..options()
                },
                "acme.directory",
            ),
            (
                AcmeOptions {
                    agree_to_terms: false,
                    ..options()
                },
                "acme.agree-to-terms",
            ),
            (
                AcmeOptions {
                    challenge: ChallengeChoice::Http01,
                    ..options()
                },
                "acme.challenge",
            ),
        ] {
            let found = wrong.check(true, false).expect_err(key);
            assert_eq!(found.0, key, "{found:?}");
        }
        let unused = AcmeOptions::default();
        unused.check(false, false).expect("nothing is obtained");
    }

    #[test]
    fn the_port_is_that_of_the_directory() {
        assert_eq!(AcmeOptions::default().port(), Some(443));
        assert_eq!(port_of("https://ca.test:14000/dir"), Some(14000));
    }
}
