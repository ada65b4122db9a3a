//! The `Range` field: which bytes of a page are asked for (RFC 9110 section 14).
//!
//! One range is answered with that part. A field with several is answered with the whole page, as a
//! server may (section 14.2); so is one in another unit than bytes, or malformed.

/// A part of a page, not empty and inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Position of its first byte.
    pub(super) start: u64,
    /// In bytes, at least 1.
    pub(super) length: u64,
}

/// What a `Range` field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nothing special: as without the field.
    Whole,
    /// This part.
    Part(Part),
    /// A part that the page does not have.
    Unsatisfiable,
}

impl Part {
    /// The value of a `Content-Range` field for this part of `whole` bytes.
    pub(super) fn content_range(self, whole: u64) -> String {
        format!(
            "bytes {}-{}/{whole}",
            self.start,
            self.start + self.length - 1
        )
    }
}

/// Reads the value of a `Range` field for a page of `whole` bytes.
pub(super) fn parse(value: &[u8], whole: u64) -> Asked {
    asked(value, whole).unwrap_or(Asked::Whole)
}

/// None where the value has to be ignored.
fn asked(value: &[u8], whole: u64) -> Option<Asked> {
    let (unit, range) = split_once(value.trim_ascii(), b'=')?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    // A comma would be in one of the two, and is no digit.
    let (first, last) = split_once(range.trim_ascii(), b'-')?;
    let (start, end) = match (first, last) {
        (b"", suffix) => {
            let wanted = parse_number(suffix)?;
            if wanted > 0 && whole == 0 {
                return None;
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
        None | Some(0) => Asked::Unsatisfiable,
        Some(length) => Asked::Part(Part { start, length }),
    })
}

/// A number of digits only. One that is too large stands for the largest there is: no file is that
/// long either.
fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(number.saturating_mul(10).saturating_add(digit.into()))
    })
}

/// What is before and after the first `at`.
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

    #[test]
    fn of_ten_bytes() {
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
            ("bytes 1-2", Asked::Whole),
            ("items=1-2", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
        ];
        for (value, asked) in table {
            assert_eq!(parse(value.as_bytes(), 10), asked, "{value}");
        }
    }

    #[test]
    fn of_an_empty_page() {
        assert_eq!(parse(b"bytes=0-", 0), Asked::Unsatisfiable);
        assert_eq!(parse(b"bytes=0-5", 0), Asked::Unsatisfiable);
        assert_eq!(parse(b"bytes=-5", 0), Asked::Whole);
        assert_eq!(parse(b"bytes=-0", 0), Asked::Unsatisfiable);
    }

    #[test]
    fn of_the_longest_page() {
        let asked = parse(b"bytes=0-18446744073709551615", u64::MAX);
        assert_eq!(asked, part(0, u64::MAX));
        let Asked::Part(part) = asked else {
            unreachable!()
        };
        assert!(
            part.content_range(u64::MAX)
                .ends_with("0-18446744073709551614/18446744073709551615")
        );
    }
}
