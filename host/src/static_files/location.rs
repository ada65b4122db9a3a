//! Where a redirect leads.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::router::RequestPath;

/// What is percent-encoded in a segment of a path: all but its `pchar`s (RFC 3986 section 3.3).
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

/// A folder's own path, with the query of the request. It begins with a single `/`, whatever the
/// request's did: a browser would take what follows `//` for a host.
pub(super) fn of_folder(path: &RequestPath, query: &[u8]) -> String {
    let mut location = String::from("/");
    for segment in path.segments().filter(|segment| !segment.is_empty()) {
        location.extend(percent_encode(segment, NOT_IN_A_SEGMENT));
        location.push('/');
    }
    // As it was sent, if it can be sent back: a field must not be broken by it.
    if let Ok(query) = str::from_utf8(query)
        && !query.is_empty()
        && query.bytes().all(|byte| byte.is_ascii_graphic())
    {
        location.push('?');
        location.push_str(query);
    }
    location
}
