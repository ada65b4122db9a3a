//! Conditional requests: what a request makes of a page's validators.
//!
//! RFC 9110 section 13.2.2 fixes the order in which the fields count, and [`Conditions::judge`] is
//! that list: If-Match, else If-Unmodified-Since; If-None-Match, else If-Modified-Since; Range, if
//! If-Range agrees. A malformed date or range is as good as absent; a malformed list of entity-tags
//! lists nothing from there on.

use wasgi_fields::range::{self, Part};

use super::validators::Validators;

/// The fields of a request that ask for an answer on a condition, or for a part of it.
#[derive(Debug, Default)]
pub(super) struct Conditions<'a> {
    /// Lists, which can be spread over several fields. Empty when the request has none.
    if_match: Vec<&'a [u8]>,
    if_none_match: Vec<&'a [u8]>,
    if_modified_since: Single<'a>,
    if_unmodified_since: Single<'a>,
    if_range: Single<'a>,
    range: Single<'a>,
}

/// A field that may come once only.
#[derive(Clone, Copy, Debug, Default)]
enum Single<'a> {
    #[default]
    Absent,
    Once(&'a [u8]),
    /// Malformed, then: nobody can say which one is meant.
    Repeated,
}

/// What is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 200, all of it.
    Whole,
    /// 206, with one part.
    Part(Part),
    /// 206, with several.
    Parts(Vec<Part>),
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
    /// 416.
    Unsatisfiable,
}

impl<'a> Conditions<'a> {
    /// Picks them out of a request's fields, in one pass.
    pub(super) fn from_fields(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Conditions<'a> {
        let mut found = Conditions::default();
        for (name, value) in fields {
            // Nearly every field is passed over by its first letter.
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

    /// Whether a part is asked for at all.
    pub(super) fn has_range(&self) -> bool {
        self.range.get().is_some()
    }

    /// Judges a GET, or a HEAD, of a page with these validators and this many bytes. The steps are
    /// those of RFC 9110 section 13.2.2; its first lines leave out what has no page.
    pub(super) fn judge(&self, page: &Validators, length: u64, is_get: bool) -> Verdict {
        // 1 and 2.
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
        // 3 and 4.
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
        // 5. A range means something to a GET only (section 14.2).
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

/// How entity-tags are compared (RFC 9110 section 8.8.3.2). Ours are always strong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// A weak tag matches nothing.
    Strong,
    /// `W/` does not count.
    Weak,
}

/// Whether `etag` is in a list of entity-tags, or the list is `*`, which any page matches. What
/// follows a malformed member is not looked at.
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
            // A member that goes on behind its quotes is malformed itself.
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

/// The length of the quoted tag that `bytes` starts with, quotes included.
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
    fn the_order_of_preconditions() {
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
            // If-None-Match takes the place of If-Modified-Since.
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
            // If-Match takes the place of If-Unmodified-Since.
            (
                &[("If-Match", ETAG), ("If-Unmodified-Since", EARLIER)],
                Whole,
            ),
            (
                &[("If-Match", "\"x\""), ("If-Unmodified-Since", LATER)],
                PreconditionFailed,
            ),
            // The first pair comes first.
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
    fn ranges_and_if_range() {
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
    fn a_fresh_date_is_no_strong_validator() {
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
