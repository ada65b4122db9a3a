//! The digest of a manifest or a blob: SHA-256, the only one that every registry has.

use std::fmt;

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// What precedes the digits.
const ALGORITHM: &str = "sha256:";

/// A SHA-256 digest. Its text is `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; SHA256_OUTPUT_LEN]);

/// Computes a digest of bytes that come in parts.
pub(super) struct Hasher(Context);

impl Digest {
    /// Parses the text of a digest. Returns `None` if it is anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::parse_hex(text.strip_prefix(ALGORITHM)?)
    }

    /// Parses its hexadecimal digits, in lower case.
    pub(super) fn parse_hex(digits: &str) -> Option<Self> {
        let digits = digits.as_bytes();
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Some(Self(bytes))
    }

    /// Returns the digest of these bytes.
    pub(super) fn from_content(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the hexadecimal digits.
    pub(crate) fn hex(&self) -> String {
        let digits = self.0.iter().map(|byte| format!("{byte:02x}"));
        digits.collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    pub(super) fn finish(self) -> Digest {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        // Of the same length by the algorithm's definition.
        for (byte, computed) in bytes.iter_mut().zip(self.0.finish().as_ref()) {
            *byte = *computed;
        }
        Digest(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_shown_as_it_is_written() {
        // FIPS 180-2, appendix B.1.
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::from_content(b"abc").to_string(), text);
        assert_eq!(Digest::parse(text), Some(Digest::from_content(b"abc")));
        let upper = text.to_uppercase().replace("SHA", "sha");
        for bad in [&upper, &text[1..], &text[..70], &format!("{text}0"), ""] {
            assert_eq!(Digest::parse(bad), None, "{bad}");
        }
    }
}
