//! The validators of a page, which distinguish its states (RFC 9110 section 8.8).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::page::Revision;
use crate::content::Coding;

/// The first second that an HTTP-date cannot represent: the year 10000.
const YEAR_10000_S: u64 = 253_402_300_800;

/// The earliest accepted modification time: 1990. Reproducible container images date all files to
/// 1970, npm archives to 1985, ZIP archives to 1980. Such a date does not change with the content,
/// so it is useless as a validator.
const FIRST_S: u64 = 631_152_000;

/// The minimum age of a date to be a strong validator, in seconds: the file may have changed twice
/// in the second of its date (RFC 9110 section 8.8.2.2).
const STRONG_DATE_AGE_S: u64 = 1;

/// The validators of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Validators {
    /// A strong entity-tag with its quotes (RFC 9110 section 8.8.3).
    pub(super) etag: Vec<u8>,
    /// The modification time in seconds since 1970, not in the future. None for a date before 1990.
    pub(super) modified_s: Option<u64>,
    /// Whether the date is old enough to be a strong validator.
    date_is_strong: bool,
}

impl Validators {
    /// Returns the validators of a file, or of its form in `coding`: each form has its own tag.
    pub(super) fn new(revision: &Revision, coding: Option<Coding>, now: SystemTime) -> Validators {
        let now_s = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let modified_s = u64::try_from(revision.modified_s).ok();
        let modified_s = modified_s.filter(|at| *at >= FIRST_S);
        // RFC 9110 section 8.8.2.1: never later than the response itself.
        let modified_s = modified_s.map(|at| at.min(now_s).min(YEAR_10000_S - 1));
        Validators {
            etag: etag(
                [revision.inode, revision.length, revision.changed_ns],
                coding.map_or("", Coding::name),
            ),
            modified_s,
            date_is_strong: modified_s.is_some_and(|at| at + STRONG_DATE_AGE_S < now_s),
        }
    }

    /// Returns the value of a `Last-Modified` field.
    pub(super) fn last_modified(&self) -> Option<String> {
        let modified = UNIX_EPOCH + Duration::from_secs(self.modified_s?);
        Some(httpdate::fmt_http_date(modified))
    }

    /// Reports whether the page is unchanged since `date`. None if `date` is invalid or the page
    /// has no date.
    pub(super) fn unchanged_since(&self, date: &[u8]) -> Option<bool> {
        Some(self.modified_s? <= parse_date(date)?)
    }

    /// Compares with the validator of If-Range, which continues a download (section 13.1.5). The
    /// comparison is strong.
    pub(super) fn agrees_with(&self, if_range: &[u8]) -> bool {
        if if_range.starts_with(b"\"") || if_range.starts_with(b"W/") {
            if_range == self.etag
        } else {
            self.date_is_strong
                && self.modified_s.is_some()
                && parse_date(if_range) == self.modified_s
        }
    }
}

/// Formats an entity-tag of these numbers: `"2a-400-17f3c0d2e8"`, or `"2a-400-17f3c0d2e8-gzip"`.
fn etag(numbers: [u64; 3], coding: &str) -> Vec<u8> {
    /// Two quotes, three dashes, three numbers of 16 digits, and a coding.
    const LONGEST_BYTES: usize = 57;
    let mut tag = Vec::with_capacity(LONGEST_BYTES);
    tag.push(b'"');
    for (place, number) in numbers.into_iter().enumerate() {
        if place > 0 {
            tag.push(b'-');
        }
        push_hex(number, &mut tag);
    }
    if !coding.is_empty() {
        tag.push(b'-');
        tag.extend_from_slice(coding.as_bytes());
    }
    tag.push(b'"');
    tag
}

/// Appends `number` in hexadecimal, without leading zeros.
fn push_hex(number: u64, out: &mut Vec<u8>) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let count = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    out.extend(
        (0..count)
            .rev()
            .map(|place| DIGITS[(number >> (4 * place)) as usize % 16]),
    );
}

/// Parses an HTTP-date in any of its three forms to seconds since 1970 (RFC 9110 section 5.6.7).
fn parse_date(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let date = httpdate::parse_http_date(text)
        .ok()
        .or_else(|| of_another_day(text))?;
    date.duration_since(UNIX_EPOCH)
        .ok()
        .map(|since| since.as_secs())
}

/// Parses a date whose day of the week is wrong. The grammar allows that, the day is redundant, and
/// no known server checks it.
fn of_another_day(text: &str) -> Option<SystemTime> {
    const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    let (named, rest) = text.split_at_checked(3)?;
    if !DAYS.contains(&named) {
        return None;
    }
    DAYS.iter()
        .find_map(|day| httpdate::parse_http_date(&format!("{day}{rest}")).ok())
}

/// A page for tests and its validators.
#[cfg(test)]
pub(super) mod example {
    use super::*;

    /// 1994-11-06 08:49:37, as in RFC 9110 section 5.6.7.
    pub(in crate::static_files) const MODIFIED_S: u64 = 784_111_777;
    pub(in crate::static_files) const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    /// Returns the validators as in a response of this second.
    pub(in crate::static_files) fn page_at(now_s: u64) -> Validators {
        let revision = Revision {
            inode: 0x2a,
            length: 10,
            changed_ns: 0xff,
            modified_s: MODIFIED_S as i64,
            ..Revision::default()
        };
        Validators::new(&revision, None, UNIX_EPOCH + Duration::from_secs(now_s))
    }
}

#[cfg(test)]
mod tests {
    use super::example::{MODIFIED, MODIFIED_S, page_at};
    use super::*;
    #[test]
    fn validators_derive_from_the_file() {
        let page = page_at(MODIFIED_S + 60);
        assert_eq!(page.etag, b"\"2a-a-ff\"");
        assert_eq!(page.last_modified().as_deref(), Some(MODIFIED));
        let future = page_at(MODIFIED_S - 60);
        assert_eq!(
            future.modified_s,
            Some(MODIFIED_S - 60),
            "never later than the answer"
        );
    }

    #[test]
    fn the_day_of_the_week_is_ignored() {
        for date in [
            MODIFIED,
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Fri Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_date(date.as_bytes()), Some(MODIFIED_S), "{date}");
        }
        for date in [
            "Day, 06 Nov 1994 08:49:37 GMT",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Mon, 31 Feb 1994 08:49:37 GMT",
            "06 Nov 1994 08:49:37 GMT",
            "Su",
            "",
        ] {
            assert_eq!(parse_date(date.as_bytes()), None, "{date}");
        }
    }

    #[test]
    fn dates_outside_1990_to_9999_are_omitted_or_clamped() {
        let at = |modified_s, now_s| {
            let revision = Revision {
                modified_s,
                ..Revision::default()
            };
            Validators::new(&revision, None, UNIX_EPOCH + Duration::from_secs(now_s))
                .last_modified()
        };
        assert_eq!(at(-1, 60), None);
        assert_eq!(at(i64::MIN, 60), None);
        for made_up in [0, 1, 315_532_801, 499_162_500, FIRST_S - 1] {
            assert_eq!(at(made_up.cast_signed(), 2 * FIRST_S), None, "{made_up}");
        }
        assert_eq!(
            at(FIRST_S.cast_signed(), 2 * FIRST_S).as_deref(),
            Some("Mon, 01 Jan 1990 00:00:00 GMT")
        );
        let last = at(i64::MAX, YEAR_10000_S + 5);
        assert_eq!(last.as_deref(), Some("Fri, 31 Dec 9999 23:59:59 GMT"));
    }

    #[test]
    fn every_part_of_the_revision_is_in_the_tag() {
        let tags = [
            [0, 0, 0],
            [1, 0, 0],
            [0, 1, 0],
            [0, 0, 1],
            [0x10, 0, 0],
            [u64::MAX; 3],
        ]
        .map(|numbers| etag(numbers, ""));
        for (i, one) in tags.iter().enumerate() {
            assert!(tags.iter().skip(i + 1).all(|other| one != other));
        }
        assert_eq!(tags[0], b"\"0-0-0\"");
        let longest = etag([u64::MAX; 3], "gzip");
        assert_eq!((tags[5].len(), longest.len()), (52, 57));
        let coded = Coding::BY_SIZE.map(|coding| etag([0; 3], coding.name()));
        assert_eq!(
            coded,
            [&b"\"0-0-0-br\""[..], b"\"0-0-0-zstd\"", b"\"0-0-0-gzip\""]
        );
    }
}
