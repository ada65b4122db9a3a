//! Name-value pairs of a query string or a submitted form.

use std::io::{self, Read};

use crate::environ::lossy;
use crate::percent;

/// The maximum length of a form that [`Params::read_form`] reads, in bytes. Forms with files have
/// another type (`multipart/form-data`), so this covers only text that a person typed.
pub const FORM_MAX_BYTES: u64 = 1024 * 1024;

/// The decoded pairs of a query string or a form (`application/x-www-form-urlencoded`), in order.
///
/// Parsing never fails: invalid UTF-8 becomes U+FFFD, and an invalid `%` escape is left unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Parses `name=value&name=value`.
    pub fn parse(encoded: &[u8]) -> Self {
        let pair = |pair: &[u8]| {
            let equals = pair.iter().position(|&byte| byte == b'=');
            let (name, value) = match equals {
                Some(at) => (&pair[..at], &pair[at + 1..]),
                None => (pair, &b""[..]),
            };
            (decode(name), decode(value))
        };
        Self(
            encoded
                .split(|&byte| byte == b'&')
                .filter(|part| !part.is_empty())
                .map(pair)
                .collect(),
        )
    }

    /// Reads a form from a request's body.
    ///
    /// # Errors
    /// Fails if reading the body fails, and with `InvalidData` if it exceeds [`FORM_MAX_BYTES`].
    pub fn read_form(body: impl Read) -> io::Result<Self> {
        let mut form = Vec::new();
        body.take(FORM_MAX_BYTES + 1).read_to_end(&mut form)?;
        if form.len() as u64 > FORM_MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the form is too long",
            ));
        }
        Ok(Self::parse(&form))
    }

    /// Returns the first value with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Returns all values with this name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.iter()
            .filter(move |pair| pair.0 == name)
            .map(|pair| pair.1)
    }

    /// Returns all pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Decodes `+` as a space, and percent-escapes.
fn decode(encoded: &[u8]) -> String {
    let spaced: Vec<u8> = encoded
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte })
        .collect();
    lossy(percent::decode(&spaced))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(encoded: &str) -> Vec<(String, String)> {
        let params = Params::parse(encoded.as_bytes());
        params
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn pairs_keep_their_order_and_repeats() {
        let params = Params::parse(b"a=1&b=2&a=3");
        assert_eq!(params.get("a"), Some("1"));
        assert_eq!(params.all("a").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(params.get("c"), None);
        assert_eq!(params.iter().last(), Some(("a", "3")));
    }

    #[test]
    fn escapes_are_undone_and_broken_ones_kept() {
        let cases = [
            ("", vec![]),
            ("&&", vec![]),
            ("a", vec![("a", "")]),
            ("=b", vec![("", "b")]),
            ("a=b=c", vec![("a", "b=c")]),
            ("a+b=%26%3D%2B", vec![("a b", "&=+")]),
            ("%zz=%4&x=%", vec![("%zz", "%4"), ("x", "%")]),
            ("n=caf%C3%A9", vec![("n", "café")]),
            ("n=caf%E9", vec![("n", "caf\u{fffd}")]),
        ];
        for (encoded, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(pairs(encoded), expected, "{encoded}");
        }
    }

    #[test]
    fn a_form_has_a_limit() {
        let form = |length: u64| Params::read_form(io::repeat(b'x').take(length));
        assert!(form(FORM_MAX_BYTES).is_ok());
        assert_eq!(
            form(FORM_MAX_BYTES + 1).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
}
