//! A body that is recorded up to a limit.

use serde::{Serialize, Serializer};

use super::text::readable;

/// The maximum length of a recorded body, in bytes: pages and the usual JSON documents are kept
/// whole.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// The start of a body, and its length.
#[derive(Clone, Debug, Default)]
pub(super) struct Capture {
    bytes: Vec<u8>,
    /// The length of the body so far, in bytes.
    length: u64,
    /// The maximum length of `bytes`.
    limit: usize,
}

/// A body, for the dashboard. Either as text, or in hexadecimal digits.
#[derive(Serialize)]
struct Shown {
    /// The length of the whole body, in bytes.
    length: u64,
    /// The rest was not kept.
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl Capture {
    /// Creates an empty capture that keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            length: 0,
            limit,
        }
    }

    /// Takes the next bytes of the body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.length = self.length.saturating_add(bytes.len() as u64);
        let room = self.room().min(bytes.len());
        self.bytes
            .extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    /// Counts bytes that are not available here.
    pub(super) fn skip(&mut self, count: u64) {
        self.length = self.length.saturating_add(count);
        // What follows would be taken for a continuation.
        self.limit = self.bytes.len();
    }

    /// Returns how many more bytes are kept.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.bytes.len())
    }

    /// Returns the kept bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the length of the body so far, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns whether a part of the body was not kept.
    pub(super) fn is_cut(&self) -> bool {
        self.length > self.bytes.len() as u64
    }

    /// Returns the kept bytes as text. `None` if they are not UTF-8; a character that the limit has
    /// cut doesn't count.
    fn text(&self) -> Option<String> {
        let text = match std::str::from_utf8(&self.bytes) {
            Ok(text) => text,
            Err(error) if self.is_cut() && error.error_len().is_none() => {
                let whole = self.bytes.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(whole).unwrap_or_default()
            }
            Err(_) => return None,
        };
        (!text.contains('\0')).then(|| readable(text))
    }
}

impl Serialize for Capture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.text();
        let hex = match text {
            Some(_) => None,
            None => Some(hex(&self.bytes)),
        };
        let (length, cut) = (self.length, self.is_cut());
        let shown = Shown {
            length,
            cut,
            text,
            hex,
        };
        shown.serialize(serializer)
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(capture: &Capture) -> serde_json::Value {
        serde_json::to_value(capture).expect("JSON")
    }

    #[test]
    fn a_body_is_kept_up_to_its_limit_and_counted_beyond() {
        let mut capture = Capture::new(10);
        capture.push(b"12345");
        assert!(!capture.is_cut());
        capture.push(&[b'x'; 1_000_000]);
        assert_eq!(capture.bytes(), b"12345xxxxx");
        assert_eq!(capture.length(), 1_000_005);
        assert!(capture.is_cut() && capture.bytes.capacity() < 100);
        assert_eq!(json(&capture)["cut"], true);
    }

    #[test]
    fn what_is_not_available_is_a_cut() {
        let mut capture = Capture::new(10);
        capture.push(b"1");
        capture.skip(5);
        capture.push(b"2");
        assert_eq!((capture.bytes(), capture.length()), (&b"1"[..], 7));
    }

    #[test]
    fn a_body_is_shown_as_text_or_as_digits() {
        let shown = |bytes: &[u8], limit: usize| {
            let mut capture = Capture::new(limit);
            capture.push(bytes);
            json(&capture)
        };
        assert_eq!(shown("a\tü\n".as_bytes(), 10)["text"], "a\tü\n");
        assert_eq!(shown(b"\xff\x01", 10)["hex"], "ff01");
        assert_eq!(shown(b"a\0", 10)["hex"], "6100");
        // The limit cuts a character.
        let cut = shown("aü".as_bytes(), 2);
        assert_eq!((&cut["text"], &cut["cut"]), (&"a".into(), &true.into()));
        assert_eq!(
            shown("a\u{202e}\x1b".as_bytes(), 10)["text"],
            "a\\u{202e}\\u{1b}"
        );
    }
}
