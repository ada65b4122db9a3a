//! The format of exports: JSON, one object per line.
//!
//! ```json
//! {"bucket":"handler:guestbook/default","key":"name","value":"Ada"}
//! {"bucket":"shared:pictures","key":"dot","base64":"iVBORw0KGgo="}
//! ```

use serde::{Deserialize, Serialize};

use super::bucket::BucketId;
use super::operation::Entry;

/// A line. The value is text if it is UTF-8, otherwise it is encoded in base64 (RFC 4648 section
/// 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The bucket's identifier.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The value as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// Returns the line of an entry, without a line end.
pub fn show_line(entry: Entry) -> String {
    let (value, base64) = match String::from_utf8(entry.value) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(encode(error.as_bytes()))),
    };
    let line = Line {
        bucket: entry.bucket,
        key: entry.key,
        value,
        base64,
    };
    serde_json::to_string(&line).unwrap_or_default()
}

/// Parses a line.
///
/// # Errors
///
/// Fails with the reason.
pub fn parse_line(text: &str) -> Result<(BucketId, String, Vec<u8>), String> {
    let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let value = match (line.value, line.base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => decode(&text).ok_or("`base64` is not base64")?,
        (Some(_), Some(_)) => return Err("has both `value` and `base64`".into()),
        (None, None) => return Err("has neither `value` nor `base64`".into()),
    };
    Ok((BucketId::parse(&line.bucket)?, line.key, value))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode(bytes: &[u8]) -> String {
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

fn decode(text: &str) -> Option<Vec<u8>> {
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
    fn each_value_survives_a_line() {
        let all: Vec<u8> = (0..=255).collect();
        for length in 0..all.len() {
            for bytes in [&all[..length], &all[all.len() - length..]] {
                assert_eq!(decode(&encode(bytes)).as_deref(), Some(bytes));
            }
        }
        for value in [&b""[..], b"text \n\"", "é".as_bytes(), b"\xff", &all] {
            let entry = Entry {
                bucket: "shared:a".into(),
                key: "k\n".into(),
                value: value.to_vec(),
            };
            let line = show_line(entry);
            assert!(!line.contains('\n'), "{line}");
            let parsed = parse_line(&line).expect("good");
            assert_eq!(
                parsed,
                (BucketId::shared("a"), "k\n".to_owned(), value.to_vec())
            );
        }
        assert_eq!(encode(b"\xfb\xff"), "+/8=");
    }

    #[test]
    fn a_damaged_line_is_an_error() {
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"bucket":"shared:a","key":"k"}"#,
            r#"{"bucket":"shared:a","key":"k","value":"","base64":""}"#,
            r#"{"bucket":"a","key":"k","value":""}"#,
            r#"{"bucket":"shared:a","key":"k","base64":"a"}"#,
            r#"{"bucket":"shared:a","key":"k","base64":"===="}"#,
            r#"{"bucket":"shared:a","key":"k","base64":"a==="}"#,
            r#"{"bucket":"shared:a","key":"k","base64":"a\u00e9=="}"#,
            r#"{"bucket":"shared:a","key":"k","value":"","more":1}"#,
        ] {
            assert!(parse_line(bad).is_err(), "{bad}");
        }
    }
}
