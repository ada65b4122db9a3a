//! The `Forwarded` field, RFC 7239.
//!
//! ```text
//! Forwarded         = 1#forwarded-element
//! forwarded-element = [ forwarded-pair ] *( ";" [ forwarded-pair ] )
//! forwarded-pair    = token "=" ( token / quoted-string )                          section 4
//! ```
//!
//! The parser is more lenient than that: it accepts spaces around a `;` and, in unquoted values,
//! the characters of addresses (`for=192.0.2.1:5000`), because proxies send both. A malformed line
//! invalidates itself and all lines before it: the ends of its elements are unknown, and a client
//! may have written its start.

use std::borrow::Cow;

use wasgi_fields::bytes::is_tchar;

use super::hop::{HOPS, Hop, Node, node, scheme};
use crate::http1::RequestHead;

/// Returns the proxies' statements, nearest first; at most [`HOPS`].
pub(super) fn hops(head: &RequestHead) -> Vec<Hop> {
    let lines: Vec<&[u8]> = head
        .fields()
        .filter(|(name, _)| name.eq_ignore_ascii_case("forwarded"))
        .map(|(_, value)| value)
        .collect();
    let mut hops = Vec::new();
    for line in lines.into_iter().rev() {
        let Some(elements) = elements(line) else {
            break;
        };
        hops.extend(elements.into_iter().rev());
        if hops.len() >= HOPS {
            break;
        }
    }
    hops.truncate(HOPS);
    hops
}

/// Returns the elements of one line from the left, or `None` if it is malformed.
fn elements(line: &[u8]) -> Option<Vec<Hop>> {
    let mut elements = Vec::new();
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        let mut hop = Hop::default();
        let mut is_empty = true;
        // Parses one element: pairs up to a comma or the end.
        loop {
            rest = rest.trim_ascii_start();
            match rest {
                [] | [b',', ..] => break,
                [b';', after @ ..] => rest = after,
                _ => {
                    let (name, after) = token(rest)?;
                    let (value, after) = value(after.strip_prefix(b"=")?)?;
                    take(&mut hop, name, &value)?;
                    is_empty = false;
                    rest = after.trim_ascii_start();
                    if !matches!(rest, [] | [b',' | b';', ..]) {
                        return None;
                    }
                }
            }
        }
        if !is_empty {
            // An element without `for` hides the client.
            hop.client.get_or_insert(Node::Hidden);
            elements.push(hop);
        }
        rest = rest.strip_prefix(b",").unwrap_or_default();
    }
    Some(elements)
}

/// Stores one pair, unless its name occurred earlier in the element (section 4 forbids that).
fn take(hop: &mut Hop, name: &[u8], value: &[u8]) -> Option<()> {
    let came_before = if name.eq_ignore_ascii_case(b"for") {
        hop.client.replace(node(value)).is_some()
    } else if name.eq_ignore_ascii_case(b"proto") {
        let before = hop.scheme;
        hop.scheme = scheme(value);
        before.is_some()
    } else if name.eq_ignore_ascii_case(b"host") {
        hop.authority.replace(value.to_vec()).is_some()
    } else {
        false
    };
    (!came_before).then_some(())
}

/// Splits a token from the bytes after it.
fn token(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes
        .iter()
        .position(|&byte| !is_tchar(byte))
        .unwrap_or(bytes.len());
    bytes
        .split_at_checked(end)
        .filter(|(token, _)| !token.is_empty())
}

/// Splits a value, without its quotes, from the bytes after it.
fn value(bytes: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let Some(quoted) = bytes.strip_prefix(b"\"") else {
        let end = bytes
            .iter()
            .position(|byte| b",; \t\"=".contains(byte))
            .unwrap_or(bytes.len());
        let (value, rest) = bytes.split_at_checked(end)?;
        return (!value.is_empty()).then_some((Cow::Borrowed(value), rest));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    loop {
        match bytes.next()? {
            b'"' => return Some((Cow::Owned(value), bytes.as_slice())),
            b'\\' => value.push(*bytes.next()?),
            byte => value.push(*byte),
        }
    }
}
