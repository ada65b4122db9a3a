//! Conditional requests: evaluates a request's preconditions against a page's validators.
//!
//! RFC 9110 section 13.2.2 defines the order of evaluation, which [`Conditions::judge`] follows:
//! If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since; Range, if If-Range
//! matches. A malformed date or range is ignored; a malformed list of entity-tags ends at the
//! malformed member.

use wasgi_fields::range::{self, Part};

use super::validators::Validators;

/// The fields of a request that make it conditional or request a part.
#[derive(Debug, Default)]
pub(super) struct Conditions<'a> {
    /// Lists, which can be spread over several fields. Empty if the request has none.
    if_match: Vec<&'a [u8]>,
    if_none_match: Vec<&'a [u8]>,
    if_modified_since: Single<'a>,
    if_unmodified_since: Single<'a>,
    if_range: Single<'a>,
    range: Single<'a>,
}

/// A field that may occur only once.
#[derive(Clone, Copy, Debug, Default)]
enum Single<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    /// Treated as malformed, since the intended value is ambiguous.
    Repeated,
}

/// The kind of response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 200, the whole page.
    Whole,
    /// 206, with one part.
    Part(Part),
    /// 206, with several parts.
    Parts(Vec<Part>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

impl<'a> Conditions<'a> {
    /// Extracts the conditions from a request's fields in one pass.
    pub(super) fn from_fields(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Conditions<'a> {
        let mut found = Conditions::default();
        for (name, value) in fields {
            // The first letter excludes nearly every field.
            if !matches!(name.as_bytes().first(), Some(b'i' | b'I' | b'r' | b'R')) {
                continue;
            }
            let is = |known| name.eq_ignore_ascii_case(known);
            if is("If-None-Match") {
                found.if_none_match.push(value);
            } else if is("If-Modified-Since") {
                found.if_modified_since.add(value);
            } else if is("Range") {
                found.range.add(value);
            } else if is("If-Range") {
                found.if_range.add(value);
            } else if is("If-Match") {
                found.if_match.push(value);
            } else if is("If-Unmodified-Since") {
                found.if_unmodified_since.add(value);
            }
        }
        found
    }

    /// Reports whether the request asks for a part.
    pub(super) fn has_range(&self) -> bool {
        self.range.get().is_some()
    }

    /// Evaluates the conditions of a GET or HEAD for a page with these validators and this length.
    /// The steps are those of RFC 9110 section 13.2.2; its initial requirements, on requests
    /// without a page, do not apply.
    pub(super) fn judge(&self, page: &Validators, length: u64, is_get: bool) -> Verdict {
        // Steps 1 and 2.
        let holds = if !self.if_match.is_empty() {
            self.if_match
                .iter()
                .any(|list| is_listed(&page.etag, list, Comparison::Strong))
        } else {
            self.if_unmodified_since
                .get()
                .and_then(|d| page.unchanged_since(d))
                .unwrap_or(true)
        };
        if !holds {
            return Verdict::PreconditionFailed;
        }
        // Steps 3 and 4.
        let known = if !self.if_none_match.is_empty() {
            self.if_none_match
                .iter()
                .any(|list| is_listed(&page.etag, list, Comparison::Weak))
        } else {
            self.if_modified_since
                .get()
                .and_then(|d| page.unchanged_since(d))
                .unwrap_or(false)
        };
        if known {
            return Verdict::NotModified;
        }
        // Step 5. A range is only defined for GET (section 14.2).
        let may_be_part = match self.if_range {
            Single::Absent => true,
            Single::Once(if_range) => page.agrees_with(if_range),
            Single::Repeated => false,
        };
        match self.range.get() {
            Some(range) if is_get && may_be_part => match range::parse(range, length) {
                range::Asked::Whole => Verdict::Whole,
                range::Asked::Part(part) => Verdict::Part(part),
                range::Asked::Parts(parts) => Verdict::Parts(parts),
                range::Asked::Unsatisfiable => Verdict::Unsatisfiable,
            },
            _ => Verdict::Whole,
        }
    }
}

impl<'a> Single<'a> {
    fn add(&mut self, value: &'a [u8]) {
        *self = match self {
            Single::Absent => Single::Once(value.trim_ascii()),
            _ => Single::Repeated,
        };
    }

    fn get(self) -> Option<&'a [u8]> {
        match self {
            Single::Once(value) => Some(value),
            Single::Absent | Single::Repeated => None,
        }
    }
}

/// How entity-tags are compared (RFC 9110 section 8.8.3.2). The server's own tags are always
/// strong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag matches nothing.
    Strong,
    /// The prefix `W/` is ignored.
    Weak,
}

/// Reports whether `etag` is in a list of entity-tags, or whether the list is `*`, which any page
/// matches. Ignores the rest of the list after a malformed member.
fn is_listed(etag: &[u8], list: &[u8], comparison: Comparison) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        // Empty members are allowed (section 5.6.1.2).
        rest = rest.trim_ascii_start();
        if let Some(behind) = rest.strip_prefix(b",") {
            rest = behind;
            continue;
        }
        let (is_weak, tag) = match rest.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let Some(length) = quoted_length(tag) else {
            return false;
        };
        let (tag, behind) = tag.split_at(length);
        rest = behind.trim_ascii_start();
        let behind = rest.strip_prefix(b",");
        if behind.is_none() && !rest.is_empty() {
            // A member with further characters after its quotes is malformed.
            return false;
        }
        if tag == etag && (comparison == Comparison::Weak || !is_weak) {
            return true;
        }
        match behind {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
}

/// Returns the length of the quoted tag that `bytes` starts with, quotes included.
fn quoted_length(bytes: &[u8]) -> Option<usize> {
    let inside = bytes.strip_prefix(b"\"")?;
    Some(inside.iter().position(|&byte| byte == b'"')? + 2)
}

#[cfg(test)]
mod tests {
    use super::super::validators::example::{MODIFIED, MODIFIED_S, page_at};
    use super::*;

    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const ETAG: &str = "\"2a-a-ff\"";

    fn judge(fields: &[(&str, &str)], is_get: bool) -> Verdict {
        let fields = fields.iter().map(|&(name, value)| (name, value.as_bytes()));
        Conditions::from_fields(fields).judge(&page_at(MODIFIED_S + 60), 10, is_get)
    }

    #[test]
    fn preconditions_are_evaluated_in_the_order_of_the_rfc() {
        use Verdict::{NotModified, PreconditionFailed, Whole};
        let weak = &format!("W/{ETAG}");
        let listed = &format!(" \"x\" ,, W/\"y\",{ETAG}, \"z\"");
        let table: &[(&[(&str, &str)], Verdict)] = &[
            (&[], Whole),
            (&[("If-None-Match", ETAG)], NotModified),
            (&[("if-none-match", ETAG)], NotModified),
            (&[("If-None-Match", weak)], NotModified),
            (&[("If-None-Match", listed)], NotModified),
            (&[("If-None-Match", "*")], NotModified),
            (
                &[("If-None-Match", "\"x\""), ("If-None-Match", ETAG)],
                NotModified,
            ),
            (&[("If-None-Match", "\"x\"")], Whole),
            (&[("If-None-Match", "2a-a-ff")], Whole),
            (&[("If-None-Match", "\"2a-a-ff")], Whole),
            (&[("If-None-Match", "")], Whole),
            (&[("If-None-Match", "\"x\" \"2a-a-ff\"")], Whole),
            (&[("If-None-Match", "\"2a-a-ff\"x")], Whole),
            (&[("If-None-Match", "\"2a-a-ff\" \"x\"")], Whole),
            (&[("If-None-Match", "\"x, \"2a-a-ff\"")], Whole),
            (&[("If-Modified-Since", MODIFIED)], NotModified),
            (&[("If-Modified-Since", LATER)], NotModified),
            (&[("If-Modified-Since", EARLIER)], Whole),
            (
                &[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")],
                NotModified,
            ),
            (
                &[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")],
                NotModified,
            ),
            (
                &[("If-Modified-Since", "Mon, 06 Nov 1994 08:49:37 GMT")],
                NotModified,
            ),
            (&[("If-Modified-Since", "yesterday")], Whole),
            (
                &[
                    ("If-Modified-Since", MODIFIED),
                    ("If-Modified-Since", MODIFIED),
                ],
                Whole,
            ),
            // If-None-Match overrides If-Modified-Since.
            (
                &[("If-None-Match", "\"x\""), ("If-Modified-Since", LATER)],
                Whole,
            ),
            (
                &[("If-None-Match", ETAG), ("If-Modified-Since", EARLIER)],
                NotModified,
            ),
            (&[("If-Match", ETAG)], Whole),
            (&[("If-Match", listed)], Whole),
            (&[("If-Match", "*")], Whole),
            (&[("If-Match", weak)], PreconditionFailed),
            (&[("If-Match", "\"x\"")], PreconditionFailed),
            (&[("If-Match", "\"2a-a-ff\"x")], PreconditionFailed),
            (&[("If-Match", "nonsense")], PreconditionFailed),
            (&[("If-Unmodified-Since", MODIFIED)], Whole),
            (&[("If-Unmodified-Since", LATER)], Whole),
            (&[("If-Unmodified-Since", EARLIER)], PreconditionFailed),
            (&[("If-Unmodified-Since", "nonsense")], Whole),
            // If-Match overrides If-Unmodified-Since.
            (
                &[("If-Match", ETAG), ("If-Unmodified-Since", EARLIER)],
                Whole,
            ),
            (
                &[("If-Match", "\"x\""), ("If-Unmodified-Since", LATER)],
                PreconditionFailed,
            ),
            // If-Match and If-Unmodified-Since are evaluated first.
            (
                &[("If-None-Match", ETAG), ("If-Match", "\"x\"")],
                PreconditionFailed,
            ),
            (&[("If-None-Match", ETAG), ("If-Match", ETAG)], NotModified),
            (
                &[("If-None-Match", ETAG), ("Range", "bytes=0-1")],
                NotModified,
            ),
        ];
        for (fields, verdict) in table {
            assert_eq!(judge(fields, true), *verdict, "{fields:?}");
            assert_eq!(judge(fields, false), *verdict, "HEAD {fields:?}");
        }
    }

    #[test]
    fn a_range_needs_a_matching_if_range() {
        let part = || {
            Verdict::Part(Part {
                start: 2,
                length: 3,
            })
        };
        let weak = &format!("W/{ETAG}");
        let table: &[(&[(&str, &str)], Verdict)] = &[
            (&[("Range", "bytes=2-4")], part()),
            (&[("Range", "bytes=10-")], Verdict::Unsatisfiable),
            (&[("Range", "bytes=4-2")], Verdict::Whole),
            (
                &[("Range", "bytes=2-4"), ("Range", "bytes=2-4")],
                Verdict::Whole,
            ),
            (&[("Range", "bytes=2-4"), ("If-Range", ETAG)], part()),
            (
                &[("Range", "bytes=2-4"), ("If-Range", weak)],
                Verdict::Whole,
            ),
            (
                &[("Range", "bytes=2-4"), ("If-Range", "\"x\"")],
                Verdict::Whole,
            ),
            (
                &[("Range", "bytes=10-"), ("If-Range", "\"x\"")],
                Verdict::Whole,
            ),
            (&[("Range", "bytes=2-4"), ("If-Range", MODIFIED)], part()),
            (
                &[("Range", "bytes=2-4"), ("If-Range", LATER)],
                Verdict::Whole,
            ),
            (
                &[("Range", "bytes=2-4"), ("If-Range", EARLIER)],
                Verdict::Whole,
            ),
            (
                &[("Range", "bytes=2-4"), ("If-Range", "nonsense")],
                Verdict::Whole,
            ),
            (&[("If-Range", ETAG)], Verdict::Whole),
        ];
        for (fields, verdict) in table {
            assert_eq!(judge(fields, true), *verdict, "{fields:?}");
            assert_eq!(judge(fields, false), Verdict::Whole, "HEAD {fields:?}");
        }
    }

    #[test]
    fn a_recent_date_is_not_a_strong_validator() {
        let fields = [
            ("Range", &b"bytes=2-4"[..]),
            ("If-Range", MODIFIED.as_bytes()),
        ];
        let conditions = Conditions::from_fields(fields.into_iter());
        assert_eq!(
            conditions.judge(&page_at(MODIFIED_S + 1), 10, true),
            Verdict::Whole
        );
        assert_ne!(
            conditions.judge(&page_at(MODIFIED_S + 2), 10, true),
            Verdict::Whole
        );
    }
}
