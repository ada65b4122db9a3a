//! The character classes of HTTP.

/// One entry per byte, so that a check is a load without a branch.
type Class = [bool; 256];

/// tchar (RFC 9110 section 5.6.2): letters, digits, and the visible characters that are no
/// delimiters.
const TCHAR: Class = class(b"!#$%&'*+-.^_`|~", true);

/// The characters of a host name (RFC 3986 section 3.2.2, reg-name): unreserved, sub-delims, and
/// the percent sign, whose two digits are checked separately.
const HOST: Class = class(b"-._~!$&'()*+,;=%", true);

/// Returns the class of the bytes in `others`, and of letters and digits if `alphanumeric`.
const fn class(others: &[u8], alphanumeric: bool) -> Class {
    let mut class = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        class[byte] = alphanumeric && (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        class[others[at] as usize] = true;
        at += 1;
    }
    class
}

/// Returns whether the byte may be part of a token: a method, a field name, a coding.
#[inline]
pub fn is_tchar(byte: u8) -> bool {
    TCHAR[byte as usize]
}

/// Returns whether the bytes are a token: one or more tchar.
#[inline]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// Returns whether the byte may be part of a host name.
#[inline]
pub fn is_host_byte(byte: u8) -> bool {
    HOST[byte as usize]
}

/// Returns whether the byte is accepted in a request-target: visible ASCII except `#`, which begins
/// a fragment; no form of a target has one (RFC 9112 section 3.2).
///
/// Wider than the grammar (RFC 9112 section 3.2): browsers and tools send `|`, `"` and `{`, and
/// every server accepts them. Whitespace, control characters and bytes above 127 are rejected:
/// servers differ in how they interpret a raw byte above 127.
#[inline]
pub fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

/// Returns whether the byte may be part of a field value (RFC 9110 section 5.5): tab, space,
/// visible ASCII, or above 127.
#[inline]
pub fn is_value_byte(byte: u8) -> bool {
    (byte >= b' ' && byte != 0x7f) || byte == b'\t'
}

/// Returns whether the byte is optional whitespace (RFC 9110 section 5.6.3): space or tab.
#[inline]
pub fn is_ows(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Removes surrounding optional whitespace.
#[inline]
pub fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_ows(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_ows(*last)
    {
        bytes = rest;
    }
    bytes
}

/// Parses 1*DIGIT, up to `i64::MAX`. Other parsers on the path may treat larger values differently.
#[inline]
pub fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() {
        return None;
    }
    let mut number: i64 = 0;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    u64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_exclude_every_delimiter() {
        for byte in 0..=255u8 {
            let delimiter = b"\"(),/:;<=>?@[\\]{}".contains(&byte);
            assert_eq!(
                is_tchar(byte),
                byte.is_ascii_graphic() && !delimiter,
                "{byte:#x}"
            );
        }
        assert!(!is_token(b""));
        assert!(!is_token(b"a b"));
    }

    #[test]
    fn values_exclude_controls() {
        for byte in 0..=255u8 {
            assert_eq!(
                is_value_byte(byte),
                byte == b'\t' || !byte.is_ascii_control()
            );
            let visible = (b'!'..=b'~').contains(&byte);
            assert_eq!(is_target_byte(byte), visible && byte != b'#');
        }
    }

    #[test]
    fn decimal_is_digits_only() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"007"), Some(7));
        assert_eq!(decimal(b"9223372036854775807"), Some(i64::MAX as u64));
        for bad in [
            "",
            "+5",
            "-1",
            "0x5",
            "1_0",
            " 5",
            "5 ",
            "5,5",
            "9223372036854775808",
            "٣",
        ] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(decimal(&[b'9'; 400]), None);
    }

    #[test]
    fn trim_takes_spaces_and_tabs() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t"), b"");
    }
}
