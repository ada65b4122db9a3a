//! Texts of clients and guests, for people.

use crate::printable;

/// Returns a text in which invisible characters, and those that change the order of others, are
/// escaped. Line ends and tabs are kept.
pub(super) fn readable(text: &str) -> String {
    let parts: Vec<String> = text
        .split('\t')
        .map(|part| printable::report(part).to_string())
        .collect();
    parts.join("\t")
}

/// Returns the value of a field as [`readable`] text.
pub(super) fn readable_bytes(bytes: &[u8]) -> String {
    readable(&String::from_utf8_lossy(bytes))
}
