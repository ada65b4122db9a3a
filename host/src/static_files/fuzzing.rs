//! What the fuzz targets reach of this module. Not for use: it changes with what is inside.

use super::range::{self, Asked};
use super::security;
use crate::content::{Coding, Encodings};
use crate::router::RequestPath;

/// The file of a raw path, relative to the root, or none if it is not served.
pub fn file_name(raw: &[u8]) -> Option<Vec<u8>> {
    let path = RequestPath::parse(raw).ok()?;
    security::file_name(&path).map(|name| name.into_owned())
}

/// The parts, each with its start and length, that a `Range` field asks for of a page with so many
/// bytes; none if the field is ignored, no part if none can be had.
pub fn ranges(value: &[u8], whole: u64) -> Option<Vec<(u64, u64)>> {
    let parts = match range::parse(value, whole) {
        Asked::Whole => return None,
        Asked::Unsatisfiable => Vec::new(),
        Asked::Part(part) => vec![part],
        Asked::Parts(parts) => parts,
    };
    let bounds = parts.iter().map(|part| (part.start, part.length));
    Some(bounds.collect())
}

/// How many parts a `Range` field may ask for.
pub const MAX_RANGES: usize = range::MAX_RANGES;

/// The names of the codings that these `Accept-Encoding` fields want, best first.
pub fn codings(values: &[&[u8]]) -> Vec<&'static str> {
    let fields = values.iter().map(|value| ("Accept-Encoding", *value));
    let ranked = Encodings::from_fields(fields).ranked(Coding::BY_SIZE);
    ranked.map(Coding::name).collect()
}
