//! When a certificate is valid.
//!
//! rustls parses certificates and doesn't tell. So this reads as much of the DER encoding (RFC 5280
//! section 4.1) as is in front of the two times, and these.

/// The tags of DER that are in front of the times.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The length of a day, in seconds.
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The time for which a certificate is valid, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// The first second.
    pub(crate) start: u64,
    /// The last second.
    pub(crate) end: u64,
}

impl Validity {
    /// Reads the times of a certificate in DER. `None` if it is malformed, or from before 1970.
    pub(crate) fn of_der(certificate: &[u8]) -> Option<Self> {
        let (body, _) = element(certificate, SEQUENCE)?;
        let (mut body, _) = element(body, SEQUENCE)?;
        if body.first() == Some(&VERSION) {
            (_, body) = element(body, VERSION)?;
        }
        // The serial number, the algorithm of the signature, and the issuer.
        for tag in [INTEGER, SEQUENCE, SEQUENCE] {
            (_, body) = element(body, tag)?;
        }
        let (times, _) = element(body, SEQUENCE)?;
        let (start, times) = time(times)?;
        let (end, _) = time(times)?;
        Some(Self { start, end })
    }
}

/// Splits off an element with this tag. Returns its content, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        // The number of bytes that the length has: three for 16 MiB.
        let count = usize::from(first & 0x7f);
        if !(1..=3).contains(&count) {
            return None;
        }
        let (bytes, after) = rest.split_at_checked(count)?;
        length = bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        rest = after;
    }
    let parts = rest.split_at_checked(length)?;
    (found == tag).then_some(parts)
}

/// Splits off a time (RFC 5280 section 4.1.2.5), in seconds since 1970.
fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (text, rest, year_digits) = match bytes.first()? {
        &UTC_TIME => {
            let (text, rest) = element(bytes, UTC_TIME)?;
            (text, rest, 2)
        }
        _ => {
            let (text, rest) = element(bytes, GENERALIZED_TIME)?;
            (text, rest, 4)
        }
    };
    let digits = text.strip_suffix(b"Z")?;
    if digits.len() != year_digits + 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |at: usize, count: usize| {
        let digits = digits.get(at..at + count).unwrap_or_default();
        digits
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    };
    let year = match (year_digits, number(0, year_digits)) {
        (2, year @ 50..) => 1900 + year,
        (2, year) => 2000 + year,
        (_, year) => year,
    };
    let part = |index: usize| number(year_digits + 2 * index, 2);
    let (month, day) = (part(0), part(1));
    let [hour, minute, second] = [part(2), part(3), part(4)];
    let is_valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = hour * 3600 + minute * 60 + second;
    is_valid.then(|| (days(year, month, day) * DAY_SECONDS + seconds, rest))
}

/// Returns the number of days from 1970 to a day of the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March, so that a leap day is the last day of its year.
    let year = if month > 2 { year } else { year - 1 };
    let month = (month + 9) % 12;
    let leaps = year / 4 - year / 100 + year / 400;
    // 719,468 days from the first of March of the year 0 to 1970.
    year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(start: (i32, u8, u8), end: (i32, u8, u8)) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(["a.test".to_owned()]).expect("a name");
        params.not_before = rcgen::date_time_ymd(start.0, start.1, start.2);
        params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
        params.self_signed(&key).expect("signed").der().to_vec()
    }

    #[test]
    fn both_times_are_read_in_both_encodings() {
        // Times from 2050 on have four digits for the year.
        for (start, end, expected) in [
            ((1970, 1, 1), (2000, 2, 29), [0, 951_782_400]),
            ((2026, 11, 30), (2027, 3, 1), [1_795_996_800, 1_803_859_200]),
            ((2049, 12, 31), (2050, 1, 1), [2_524_521_600, 2_524_608_000]),
            ((2100, 2, 28), (2100, 3, 1), [4_107_456_000, 4_107_542_400]),
        ] {
            let found = Validity::of_der(&certificate(start, end));
            let [start, end] = expected;
            assert_eq!(found, Some(Validity { start, end }));
        }
    }

    #[test]
    fn damaged_certificates_have_no_times() {
        let whole = certificate((2026, 1, 1), (2027, 1, 1));
        for length in 0..whole.len() {
            assert_eq!(Validity::of_der(&whole[..length]), None);
        }
        // Whatever a byte is changed to, nothing panics.
        for at in 0..whole.len().min(200) {
            for value in 0..=255 {
                let mut damaged = whole.clone();
                damaged[at] = value;
                let _ = Validity::of_der(&damaged);
            }
        }
        let text = |text: &[u8]| {
            let mut bytes = vec![UTC_TIME, text.len() as u8];
            bytes.extend_from_slice(text);
            time(&bytes).map(|(time, _)| time)
        };
        assert_eq!(text(b"700101000000Z"), Some(0));
        for wrong in [
            &b"490101000000"[..],
            b"690101000000Z",
            b"701301000000Z",
            b"700001000000Z",
            b"700100000000Z",
            b"700101240000Z",
            b"7001010000000Z",
            b"70010100000+Z",
            b"Z",
            b"",
        ] {
            assert_eq!(text(wrong), None);
        }
    }
}
