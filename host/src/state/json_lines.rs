//! The format of exports: JSON, one object per line.
//!
//! ```json
//! {"bucket":"handler:guestbook/default","key":"name","value":"Ada"}
//! {"bucket":"shared:pictures","key":"dot","base64":"iVBORw0KGgo="}
//! ```

use serde::{Deserialize, Serialize};

use super::bucket::BucketId;
use super::operation::Entry;
use crate::base64::{decode, encode};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_survives_a_line() {
        let all: Vec<u8> = (0..=255).collect();
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
