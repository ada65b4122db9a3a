//! Bytes as text in base64 (RFC 4648 section 4).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let all = group
            .iter()
            .fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let all = all << (8 * (3 - group.len()));
        for at in 0..4 {
            let digit = (all >> (18 - 6 * at)) & 63;
            text.push(match at <= group.len() {
                true => char::from(ALPHABET[digit as usize]),
                false => '=',
            });
        }
    }
    text
}

/// Decodes a text. Returns `None` if it is anything else.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = text.get(..text.len().checked_sub(padding.min(2))?)?;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut all = 0_u32;
        for byte in group {
            let digit = ALPHABET.iter().position(|digit| digit == byte)?;
            all = all << 6 | u32::try_from(digit).ok()?;
        }
        all <<= 6 * (4 - group.len());
        let [_, front @ ..] = all.to_be_bytes();
        bytes.extend(front.get(..group.len().checked_sub(1)?)?);
    }
    Some(bytes)
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
