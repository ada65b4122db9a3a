//! Bytes as text in base64 (RFC 4648 section 4).

use base64::prelude::{BASE64_STANDARD, Engine};

/// Encodes bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Decodes a text. Returns `None` if it is anything else.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 0..all.len() {
            for bytes in [&all[..length], &all[all.len() - length..]] {
                assert_eq!(decode(&encode(bytes)).as_deref(), Some(bytes));
            }
        }
        assert_eq!(encode(b"\xfb\xff"), "+/8=");
    }

    #[test]
    fn the_last_group_is_padded() {
        // The test vectors of RFC 4648 section 10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
    }
}
