//! The `Range` field, which requests parts of a page (RFC 9110 section 14).
//!
//! A field with a unit other than bytes, a malformed field, and a field with more ranges than any
//! client needs are ignored: the whole page is sent, as section 14.2 allows. Ranges that overlap or
//! touch are merged; the others keep the requested order, since a client puts first what it needs
//! first (section 15.3.7.2).

/// The maximum number of ranges in a field. PDF readers, which request the most, stay below; a
/// field with more is a way to make a small request costly.
pub const MAX_RANGES: usize = 32;

/// A part of a page, not empty and inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The position of its first byte.
    pub start: u64,
    /// The length in bytes, at least 1; `start + length` is at most the page's length.
    pub length: u64,
}

/// The meaning of a `Range` field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The whole page, as without the field.
    Whole,
    /// One part.
    Part(Part),
    /// At least two parts, which neither overlap nor touch.
    Parts(Vec<Part>),
    /// Only ranges outside the page.
    Unsatisfiable,
}

/// The result of one range.
enum Found {
    Part(Part),
    Unsatisfiable,
    /// A suffix of an empty page: all of it.
    Nothing,
}

impl Part {
    /// Returns the value of a `Content-Range` field for this part of `whole` bytes.
    pub fn content_range(self, whole: u64) -> String {
        format!(
            "bytes {}-{}/{whole}",
            self.start,
            self.start + (self.length - 1)
        )
    }

    /// Reports whether the two parts overlap or are adjacent.
    fn touches(self, other: Part) -> bool {
        self.start <= other.end() && other.start <= self.end()
    }

    /// Returns the part from the first byte of both to the last.
    fn union(self, other: Part) -> Part {
        let start = self.start.min(other.start);
        Part {
            start,
            length: self.end().max(other.end()) - start,
        }
    }

    /// Returns the position after its last byte.
    fn end(self) -> u64 {
        self.start + self.length
    }
}

/// Parses the value of a `Range` field for a page of `whole` bytes.
pub fn parse(value: &[u8], whole: u64) -> Asked {
    asked(value, whole).unwrap_or(Asked::Whole)
}

/// Parses the value of a `Range` field. None if the value has to be ignored.
fn asked(value: &[u8], whole: u64) -> Option<Asked> {
    let (unit, ranges) = split_once(value.trim_ascii(), b'=')?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut parts: Vec<Part> = Vec::new();
    let mut count = 0;
    for range in ranges.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        // Empty members are allowed (section 5.6.1.2), but at least one must not be empty.
        if range.is_empty() {
            continue;
        }
        count += 1;
        if count > MAX_RANGES {
            return None;
        }
        match one(range, whole)? {
            Found::Part(part) => add(part, &mut parts),
            Found::Unsatisfiable => {}
            Found::Nothing => return None,
        }
    }
    match (count, parts.as_slice()) {
        (0, _) => None,
        (_, []) => Some(Asked::Unsatisfiable),
        (_, [part]) => Some(Asked::Part(*part)),
        _ => Some(Asked::Parts(parts)),
    }
}

/// Parses one range: `first-last`, `first-` or `-suffix`. None if it is malformed.
fn one(range: &[u8], whole: u64) -> Option<Found> {
    let (start, end) = match split_once(range, b'-')? {
        (b"", suffix) => {
            let wanted = parse_number(suffix)?;
            if wanted > 0 && whole == 0 {
                return Some(Found::Nothing);
            }
            (whole.saturating_sub(wanted), whole)
        }
        (first, b"") => (parse_number(first)?, whole),
        (first, last) => {
            let (first, last) = (parse_number(first)?, parse_number(last)?);
            if first > last {
                return None;
            }
            (first, last.saturating_add(1).min(whole))
        }
    };
    Some(match end.checked_sub(start) {
        None | Some(0) => Found::Unsatisfiable,
        Some(length) => Found::Part(Part { start, length }),
    })
}

/// Adds a part. Merges it with the parts that it touches, at the position of the first of these.
fn add(mut part: Part, parts: &mut Vec<Part>) {
    let mut place = parts.len();
    while let Some(at) = parts.iter().position(|other| part.touches(*other)) {
        part = part.union(parts.remove(at));
        place = place.min(at);
    }
    parts.insert(place.min(parts.len()), part);
}

/// Parses a number of only digits. A number that is too large becomes the maximum, which exceeds
/// the length of any file as well.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

/// Splits at the first `at`.
fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|&byte| byte == at)?;
    let (before, behind) = bytes.split_at(position);
    Some((before, behind.split_at(1).1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u64, length: u64) -> Asked {
        Asked::Part(Part { start, length })
    }

    fn parts(parts: &[(u64, u64)]) -> Asked {
        let parts = parts.iter().map(|&(start, length)| Part { start, length });
        Asked::Parts(parts.collect())
    }

    #[test]
    fn a_range_selects_a_part_of_ten_bytes() {
        let table = [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-9", part(0, 10)),
            ("bytes=2-5", part(2, 4)),
            ("bytes=9-9", part(9, 1)),
            ("bytes=0-", part(0, 10)),
            ("bytes=4-", part(4, 6)),
            ("bytes=-1", part(9, 1)),
            ("bytes=-10", part(0, 10)),
            ("bytes=-11", part(0, 10)),
            ("bytes=5-100", part(5, 5)),
            ("BYTES=1-2", part(1, 2)),
            (" bytes= 1-2 ", part(1, 2)),
            ("bytes=0-18446744073709551615", part(0, 10)),
            ("bytes=0-99999999999999999999999", part(0, 10)),
            ("bytes=-99999999999999999999999", part(0, 10)),
            ("bytes=10-", Asked::Unsatisfiable),
            ("bytes=10-20", Asked::Unsatisfiable),
            ("bytes=-0", Asked::Unsatisfiable),
            ("bytes=99999999999999999999999-", Asked::Unsatisfiable),
            (
                "bytes=18446744073709551615-18446744073709551615",
                Asked::Unsatisfiable,
            ),
            ("bytes=5-4", Asked::Whole),
            ("bytes=", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes", Asked::Whole),
            ("", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=1-2x", Asked::Whole),
            ("bytes=1--2", Asked::Whole),
            ("bytes=--1", Asked::Whole),
            ("bytes=1 -2", Asked::Whole),
            ("bytes 1-2", Asked::Whole),
            ("items=1-2", Asked::Whole),
        ];
        for (value, asked) in table {
            assert_eq!(parse(value.as_bytes(), 10), asked, "{value}");
        }
    }

    #[test]
    fn several_ranges_are_merged_if_they_touch() {
        let table = [
            ("bytes=0-1,4-5", parts(&[(0, 2), (4, 2)])),
            ("bytes=4-5,0-1", parts(&[(4, 2), (0, 2)])),
            ("bytes= 0-1 ,\t4-5 ", parts(&[(0, 2), (4, 2)])),
            ("bytes=,0-1,,4-5,", parts(&[(0, 2), (4, 2)])),
            ("bytes=0-0,-1", parts(&[(0, 1), (9, 1)])),
            ("bytes=8-,0-0,4-4", parts(&[(8, 2), (0, 1), (4, 1)])),
            // Ranges outside the page are omitted.
            ("bytes=0-1,10-,4-5", parts(&[(0, 2), (4, 2)])),
            ("bytes=0-1,99999999999999999999-", part(0, 2)),
            ("bytes=10-,11-", Asked::Unsatisfiable),
            ("bytes=-0,10-", Asked::Unsatisfiable),
            // Ranges that overlap or touch are merged, at the position of the first one.
            ("bytes=0-5,3-8", part(0, 9)),
            ("bytes=3-8,0-5", part(0, 9)),
            ("bytes=0-1,2-3", part(0, 4)),
            ("bytes=0-,0-,0-", part(0, 10)),
            ("bytes=8-9,0-1,4-5,2-3", parts(&[(8, 2), (0, 6)])),
            ("bytes=0-1,8-9,5-6,1-5", parts(&[(0, 7), (8, 2)])),
            ("bytes=0-0,2-2,4-4,0-9", part(0, 10)),
            // A malformed range invalidates the whole field.
            ("bytes=0-1,x", Asked::Whole),
            ("bytes=0-1,5-4", Asked::Whole),
            ("bytes=0-1;4-5", Asked::Whole),
            ("bytes=,", Asked::Whole),
            ("bytes=,,, ,", Asked::Whole),
        ];
        for (value, asked) in table {
            assert_eq!(parse(value.as_bytes(), 10), asked, "{value}");
        }
    }

    #[test]
    fn too_many_ranges_are_ignored() {
        let field = |count: usize| {
            let ranges: Vec<String> = (0..count).map(|i| format!("{}-{0}", 2 * i)).collect();
            format!("bytes={}", ranges.join(","))
        };
        let asked = parse(field(MAX_RANGES).as_bytes(), 1_000);
        assert!(matches!(asked, Asked::Parts(parts) if parts.len() == MAX_RANGES));
        let asked = parse(field(MAX_RANGES + 1).as_bytes(), 1_000);
        assert_eq!(asked, Asked::Whole);
        let commas = format!("bytes=0-1{}", ",".repeat(5_000));
        assert_eq!(parse(commas.as_bytes(), 10), part(0, 2));
    }

    /// For any ranges in any order, the parts are inside the page, separate, and cover exactly the
    /// requested bytes.
    #[test]
    fn parts_cover_what_was_asked_for() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for _ in 0..2_000 {
            let whole = 1 + random(30);
            let count = 1 + random(6);
            let ranges: Vec<(u64, u64)> = (0..count)
                .map(|_| {
                    let first = random(35);
                    (first, first + random(8))
                })
                .collect();
            let text: Vec<String> = ranges.iter().map(|(a, b)| format!("{a}-{b}")).collect();
            let value = format!("bytes={}", text.join(","));
            let parts = match parse(value.as_bytes(), whole) {
                Asked::Part(part) => vec![part],
                Asked::Parts(parts) => parts,
                Asked::Unsatisfiable => Vec::new(),
                Asked::Whole => panic!("{value}"),
            };
            for byte in 0..40 {
                let asked = byte < whole && ranges.iter().any(|(a, b)| (*a..=*b).contains(&byte));
                let given = parts
                    .iter()
                    .filter(|part| (part.start..part.end()).contains(&byte));
                assert_eq!(
                    given.count(),
                    usize::from(asked),
                    "{value} of {whole}: {byte}"
                );
            }
        }
    }

    #[test]
    fn an_empty_page_has_no_part() {
        assert_eq!(parse(b"bytes=0-", 0), Asked::Unsatisfiable);
        assert_eq!(parse(b"bytes=0-5", 0), Asked::Unsatisfiable);
        assert_eq!(parse(b"bytes=-5", 0), Asked::Whole);
        assert_eq!(parse(b"bytes=0-5,-5", 0), Asked::Whole);
        assert_eq!(parse(b"bytes=-0", 0), Asked::Unsatisfiable);
    }

    #[test]
    fn ranges_of_the_longest_page_do_not_overflow() {
        let asked = parse(b"bytes=0-18446744073709551615", u64::MAX);
        assert_eq!(asked, part(0, u64::MAX));
        let Asked::Part(part) = asked else {
            unreachable!()
        };
        assert!(
            part.content_range(u64::MAX)
                .ends_with("0-18446744073709551614/18446744073709551615")
        );
        let asked = parse(b"bytes=-1,0-0,18446744073709551600-,5-5", u64::MAX);
        assert_eq!(asked, parts(&[(u64::MAX - 15, 15), (0, 1), (5, 1)]));
    }
}
