//! The identifier of a request, by which the logs, an error page, the handler and the client name
//! it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The field that carries the identifier in requests of proxies, and in responses.
pub const REQUEST_ID_FIELD: &str = "X-Request-Id";

/// The maximum length of an identifier that a proxy has given, in bytes: several times a UUID, and
/// what other servers accept.
const MAX_BYTES: usize = 128;

/// The number of digits of an identifier, of five bits each: of ten billion requests, no two have
/// the same one with a probability of 99.99 %.
const DIGITS_COUNT: usize = 16;

/// The identifier of a request. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Creates an identifier of 80 random bits, which tell a client nothing about other requests.
    pub fn random() -> Self {
        /// Crockford's base 32 in lower case, in which no letter looks like a digit.
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        // The standard library's hasher takes its keys from the system.
        let random = RandomState::new();
        let halves = [random.hash_one(0_u8), random.hash_one(1_u8)];
        let mut text = [0; DIGITS_COUNT];
        for (digits, mut half) in text.chunks_mut(DIGITS_COUNT / 2).zip(halves) {
            for digit in digits {
                *digit = DIGITS[half as usize % DIGITS.len()];
                half >>= 5;
            }
        }
        // The digits are ASCII.
        Self(std::str::from_utf8(&text).unwrap_or_default().into())
    }

    /// Accepts an identifier that a trusted proxy has given: 1 to 128 letters, digits and
    /// characters of `-._~+/=:@`, which need no escape in a log or on a page.
    pub fn from_proxy(value: &[u8]) -> Option<Self> {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=:@".contains(byte);
        let is_valid = (1..=MAX_BYTES).contains(&value.len()) && value.iter().all(is_plain);
        let text = std::str::from_utf8(value).ok().filter(|_| is_valid)?;
        Some(Self(text.into()))
    }

    /// Returns the text: at most 128 bytes of printable ASCII.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identifiers_are_short_words_and_none_is_repeated() {
        let ids: HashSet<String> = (0..10_000)
            .map(|_| RequestId::random().to_string())
            .collect();
        assert_eq!(ids.len(), 10_000);
        let is_good = |id: &String| {
            id.len() == DIGITS_COUNT && RequestId::from_proxy(id.as_bytes()).is_some()
        };
        assert!(ids.iter().all(is_good));
    }

    #[test]
    fn a_proxys_identifier_needs_no_escape() {
        let longest = "a".repeat(MAX_BYTES);
        for good in ["7", "0af7651916cd43dd", "a-b_c.d~e+f/g=h:i@j", &longest] {
            let id = RequestId::from_proxy(good.as_bytes()).expect(good);
            assert_eq!(id.as_str(), good);
        }
        let too_long = "a".repeat(MAX_BYTES + 1);
        for bad in [
            "", "a b", "a\"", "a\\", "<b>", "a,b", "é", "a\x1b", "#1", &too_long,
        ] {
            assert_eq!(RequestId::from_proxy(bad.as_bytes()), None, "{bad}");
        }
    }
}
