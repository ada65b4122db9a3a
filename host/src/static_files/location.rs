//! The target of a redirect.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::router::RequestPath;

/// The bytes that are percent-encoded in a path segment: all but its `pchar`s (RFC 3986 section
/// 3.3).
pub(super) const NOT_IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Returns a folder's path with a trailing slash and the query of the request. It begins with a
/// single `/`, even if the request's path did not: a browser would interpret `//` as the start of a
/// host.
pub(super) fn of_folder(path: &RequestPath, query: &[u8]) -> String {
    let mut location = String::from("/");
    for segment in path.segments().filter(|segment| !segment.is_empty()) {
        location.extend(percent_encode(segment, NOT_IN_A_SEGMENT));
        location.push('/');
    }
    // The query is copied unchanged if it is valid in a field.
    if let Ok(query) = str::from_utf8(query)
        && !query.is_empty()
        && query.bytes().all(|byte| byte.is_ascii_graphic())
    {
        location.push('?');
        location.push_str(query);
    }
    location
}
