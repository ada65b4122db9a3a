//! How a registry asks for a password or a token: the field WWW-Authenticate (RFC 9110 section
//! 11.6.1), and the answer of a token service (Docker Registry v2 authentication).

use http::HeaderMap;
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// The maximum length of a token, in bytes: those of clouds have some 3 KiB, and it is sent in a
/// field.
const MAX_TOKEN_BYTES: usize = 16 << 10;

/// The maximum size of the document that has a token, in bytes.
pub(super) const MAX_TOKEN_DOCUMENT_BYTES: usize = 64 << 10;

/// What is escaped in a query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// A user and a password.
    Basic,
    /// A token, which the URL `realm` issues for this service.
    Bearer { realm: String, service: String },
}

impl Challenge {
    /// Returns the first challenge that is understood.
    pub(super) fn find(fields: &HeaderMap) -> Option<Self> {
        let values = fields.get_all(WWW_AUTHENTICATE).iter();
        values
            .filter_map(|value| Self::parse(value.to_str().ok()?))
            .next()
    }

    fn parse(value: &str) -> Option<Self> {
        let (scheme, parameters) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("Basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("Bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, String::new());
        for (name, value) in Parameters(parameters) {
            match &*name.to_ascii_lowercase() {
                "realm" => realm = Some(value),
                "service" => service = value,
                _ => {}
            }
        }
        Some(Self::Bearer {
            realm: realm?,
            service,
        })
    }
}

/// The parameters of a challenge: `name="value"` or `name=value`, separated by commas. Ends at the
/// first one that is malformed.
struct Parameters<'v>(&'v str);

impl Iterator for Parameters<'_> {
    type Item = (String, String);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0.trim_start_matches([' ', ',', '\t']);
        let (name, rest) = rest.split_once('=')?;
        let rest = rest.trim_start();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (value, rest) = rest.split_at(end);
                (value.trim().to_owned(), rest)
            }
        };
        self.0 = rest;
        Some((name.trim().to_owned(), value))
    }
}

/// Reads a quoted string after its first quote. Also returns what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(characters.next()?.1),
            _ => value.push(character),
        }
    }
    None
}

/// Returns the URL that issues a token to read a repository.
pub(super) fn token_url(realm: &str, service: &str, repository: &str) -> String {
    let separator = if realm.contains('?') { '&' } else { '?' };
    let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let scope = escaped(&format!("repository:{repository}:pull"));
    match service {
        "" => format!("{realm}{separator}scope={scope}"),
        _ => format!(
            "{realm}{separator}service={}&scope={scope}",
            escaped(service)
        ),
    }
}

/// The document that has a token.
#[derive(Deserialize)]
struct TokenDocument {
    token: Option<String>,
    access_token: Option<String>,
}

/// Returns the Authorization field with the token in a document.
///
/// # Errors
///
/// Fails if there is none, or one that can't be sent. The reason doesn't contain it.
pub(super) fn bearer(document: &[u8]) -> Result<HeaderValue, &'static str> {
    let document: TokenDocument =
        serde_json::from_slice(document).map_err(|_| "its answer has no token")?;
    let token = document.token.or(document.access_token);
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or("its answer has no token")?;
    if token.len() > MAX_TOKEN_BYTES {
        return Err("its token is too long");
    }
    let field = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut field = field.map_err(|_| "its token can't be sent")?;
    field.set_sensitive(true);
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_parsed() {
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.into(),
            })
        };
        for (value, expected) in [
            (
                r#"Bearer realm="https://a.test/token",service="a.test",scope="x:y:pull,push""#,
                bearer("https://a.test/token", "a.test"),
            ),
            (
                r#"bearer  service=a.test , REALM = "https://a.test/?a=\"b" , x"#,
                bearer("https://a.test/?a=\"b", "a.test"),
            ),
            (r#"bearer service=a, realm="b\"c", x"#, bearer("b\"c", "a")),
            (r#"Bearer service="a""#, None),
            (r#"Bearer realm="a"#, None),
            ("Basic realm=\"a\"", Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Digest realm=\"a\"", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(value), expected, "{value}");
        }
        let mut fields = HeaderMap::new();
        fields.append(WWW_AUTHENTICATE, HeaderValue::from_static("Negotiate"));
        fields.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=x"));
        assert_eq!(Challenge::find(&fields), Some(Challenge::Basic));
    }

    #[test]
    fn a_token_is_asked_for_one_repository_and_to_read() {
        let url = token_url("https://a.test/t", "a b&c", "org/shop");
        let query = "service=a%20b%26c&scope=repository%3Aorg%2Fshop%3Apull";
        assert_eq!(url, format!("https://a.test/t?{query}"));
        let url = token_url("https://a.test/t?x=y", "", "a");
        assert_eq!(url, "https://a.test/t?x=y&scope=repository%3Aa%3Apull");
    }

    #[test]
    fn a_token_that_cant_be_sent_is_refused() {
        let field = bearer(br#"{"access_token":"abc","expires_in":1}"#).expect("a token");
        assert_eq!(field.to_str().ok(), Some("Bearer abc"));
        assert!(field.is_sensitive());
        let long = format!(r#"{{"token":"{}"}}"#, "a".repeat(MAX_TOKEN_BYTES + 1));
        for bad in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\nb"}"#, &long] {
            assert!(bearer(bad.as_bytes()).is_err(), "{bad:.80}");
        }
    }
}
