//! The functions of this module that the fuzz targets call. Not a stable interface: it changes with
//! the implementation.

use super::security;
use crate::content::{Coding, Encodings};
use crate::router::RequestPath;

/// Returns the file of a raw path, relative to the root, or none if it is not served.
pub fn file_name(raw: &[u8]) -> Option<Vec<u8>> {
    let path = RequestPath::parse(raw).ok()?;
    security::file_name(&path).map(|name| name.into_owned())
}

/// Returns the names of the codings that these `Accept-Encoding` fields accept, best first.
pub fn codings(values: &[&[u8]]) -> Vec<&'static str> {
    let fields = values.iter().map(|value| ("Accept-Encoding", *value));
    let ranked = Encodings::from_fields(fields).ranked(Coding::BY_SIZE);
    ranked.map(Coding::name).collect()
}
