//! The rules for a response head (R1 and B3 of the contract).

use crate::bytes::{decimal, is_token, is_value_byte};
use crate::names::is_hop_by_hop;

/// The maximum number of fields in one head. Servers commonly accept a hundred from a client; a
/// response can have more, with many cookies or links.
pub const MAX_FIELDS_COUNT: usize = 1_000;

/// The default limit of a response's status, field names and field values together, in bytes. 64
/// KiB: twice what servers commonly accept for a request head.
pub const DEFAULT_MAX_HEAD_BYTES: usize = 64 * 1024;

/// The maximum number of bytes of a status, a name or a value in an error text: enough to identify
/// it.
const MAX_SHOWN_BYTES: usize = 100;

/// The values of a checked head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'a> {
    /// The status code, 200 to 999.
    pub status: u16,
    /// The reason phrase. Can be empty.
    pub reason: &'a [u8],
    /// The value of `Content-Length`, in bytes, if present.
    pub length: Option<u64>,
}

/// Checks a head that an application wants to send: its size first, then the status, then each
/// field. `max_bytes` limits the status, all names and all values together.
///
/// # Errors
///
/// Fails if the head may not be sent. The text names the part and the reason.
pub fn check<'a>(
    status: &'a [u8],
    fields: &[(String, Vec<u8>)],
    max_bytes: usize,
) -> Result<Checked<'a>, String> {
    check_size(status, fields, max_bytes)?;
    let (status, reason) = parse_status(status)?;
    let mut length = None;
    for (name, value) in fields {
        check_name(name)?;
        check_value(name, value)?;
        if name.eq_ignore_ascii_case("content-length") {
            let declared = parse_length(value)?;
            if length.is_some_and(|before| before != declared) {
                return Err("two different Content-Length fields".to_owned());
            }
            length = Some(declared);
        }
    }
    Ok(Checked {
        status,
        reason,
        length,
    })
}

/// Checks the size of a head before its contents.
fn check_size(status: &[u8], fields: &[(String, Vec<u8>)], max_bytes: usize) -> Result<(), String> {
    let count = fields.len();
    if count > MAX_FIELDS_COUNT {
        return Err(format!(
            "the head has {count} fields; the limit is {MAX_FIELDS_COUNT}"
        ));
    }
    let sizes = fields.iter().map(|(name, value)| name.len() + value.len());
    let bytes = status.len() + sizes.sum::<usize>();
    if bytes > max_bytes {
        return Err(format!(
            "the head measures {bytes} bytes; the limit is {max_bytes} (--max-response-head)"
        ));
    }
    Ok(())
}

/// Parses `"200 OK"`: three digits, a space and a reason (PEP 3333, "The start_response()
/// Callable").
///
/// Rejects 1xx: only the host sends interim responses, and 101 would end HTTP.
fn parse_status(status: &[u8]) -> Result<(u16, &[u8]), String> {
    let wrong = || {
        format!(
            "status {}: expected three digits and a reason, such as \"200 OK\"",
            shown_bytes(status)
        )
    };
    let (digits, rest) = status.split_first_chunk::<3>().ok_or_else(wrong)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    if code < 200 {
        return Err(format!(
            "status {}: only the server sends codes below 200",
            shown_bytes(status)
        ));
    }
    let reason = match rest {
        [b' ', reason @ ..] => reason,
        [] => rest,
        _ => return Err(wrong()),
    };
    // reason-phrase = 1*( HTAB / SP / VCHAR / obs-text ), RFC 9112 section 4.
    if !reason.iter().copied().all(is_value_byte) {
        return Err(format!(
            "status {}: a control character in the reason",
            shown_bytes(status)
        ));
    }
    Ok((code, reason))
}

fn check_name(name: &str) -> Result<(), String> {
    if !is_token(name.as_bytes()) {
        return Err(format!(
            "field name {}: not a token (RFC 9110 section 5.6.2)",
            shown(name)
        ));
    }
    if name.eq_ignore_ascii_case("status") {
        return Err(
            "a Status field: the status is the first argument of start_response".to_owned(),
        );
    }
    if is_hop_by_hop(name) {
        return Err(format!(
            "field {name}: only the server sends hop-by-hop fields"
        ));
    }
    Ok(())
}

fn check_value(name: &str, value: &[u8]) -> Result<(), String> {
    if !value.iter().copied().all(is_value_byte) {
        return Err(format!(
            "field {}: a control character in the value",
            shown_bare(name)
        ));
    }
    Ok(())
}

/// Parses a length: digits, up to `i64::MAX`, which every parser on the path can represent.
fn parse_length(value: &[u8]) -> Result<u64, String> {
    decimal(value).ok_or_else(|| {
        format!(
            "Content-Length {}: not a number of bytes",
            shown_bytes(value)
        )
    })
}

/// Returns the start of a text in quotes, with control characters escaped.
fn shown(text: &str) -> String {
    format!("{:?}{}", front(text), dots(text))
}

/// Returns the start of bytes, decoded as UTF-8 with replacements, in quotes.
fn shown_bytes(bytes: &[u8]) -> String {
    // One byte more than the limit, so that the result shows that there is more.
    let front = bytes.get(..=MAX_SHOWN_BYTES).unwrap_or(bytes);
    shown(&String::from_utf8_lossy(front))
}

/// Returns the start of a name that is a token.
fn shown_bare(name: &str) -> String {
    format!("{}{}", front(name), dots(name))
}

fn front(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN_BYTES)]
}

fn dots(text: &str) -> &'static str {
    if front(text).len() < text.len() {
        "…"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;

    fn refused(status: &str, fields: &[(&str, &str)]) -> String {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        check(status.as_bytes(), &fields, LIMIT).expect_err("it may not be sent")
    }

    #[test]
    fn r1_a_status_is_three_digits_from_200_on_and_a_reason() {
        assert_eq!(parse_status(b"404 Not Found"), Ok((404, &b"Not Found"[..])));
        assert_eq!(parse_status(b"299 "), Ok((299, &b""[..])));
        assert_eq!(parse_status(b"299"), Ok((299, &b""[..])));
        for wrong in [
            "",
            "20",
            "OK",
            "2000 OK",
            "abc OK",
            "+20 OK",
            "200\r\nX: y",
            "200 O\rK",
        ] {
            assert!(refused(wrong, &[]).contains("status"), "{wrong:?}");
        }
        assert!(refused("101 Switching Protocols", &[]).contains("only the server sends"));
        assert!(refused("2\u{e9}0", &[]).contains("three digits"));
    }

    #[test]
    fn r1_fields_that_may_not_be_sent() {
        assert!(refused("200 OK", &[("Status", "200")]).contains("Status"));
        assert!(refused("200 OK", &[("Connection", "close")]).contains("hop-by-hop"));
        assert!(refused("200 OK", &[("transfer-encoding", "chunked")]).contains("hop-by-hop"));
        assert!(refused("200 OK", &[("X", "a\r\nY: b")]).contains("control"));
        assert!(refused("200 OK", &[("X", "a\0b")]).contains("control"));
        assert!(refused("200 OK", &[("X y", "a")]).contains("token"));
        assert!(refused("200 OK", &[("", "a")]).contains("token"));
        assert!(refused("200 OK", &[("Content-Length", "+5")]).contains("Content-Length"));
        assert!(
            refused(
                "200 OK",
                &[("Content-Length", "5"), ("content-length", "6")]
            )
            .contains("different")
        );
        let long = "a".repeat(LIMIT);
        assert!(refused("200 OK", &[("X", &long)]).contains("limit"));
    }

    #[test]
    fn r1_a_head_is_refused_for_its_size_before_anything_of_it_is_looked_at() {
        let many = vec![("\0", "\0"); MAX_FIELDS_COUNT + 1];
        assert!(refused("\0", &many).contains("1001 fields; the limit is 1000"));
        let long = "\0".repeat(LIMIT + 1);
        for (status, name, value) in [(&*long, "X", ""), ("\0", &long, ""), ("\0", "\0", &long)] {
            assert!(refused(status, &[(name, value)]).contains("the limit is 1024"));
        }
    }

    #[test]
    fn r1_a_refusal_shows_the_front_of_what_is_wrong() {
        let long = "\x1b".repeat(LIMIT / 2);
        let name = "x".repeat(LIMIT / 2);
        for why in [
            refused(&long, &[]),
            refused(&format!("100 {long}"), &[]),
            refused(&format!("200 {long}"), &[]),
            refused("200 OK", &[(&long, "")]),
            refused("200 OK", &[(&name, "\0")]),
            refused("200 OK", &[("Content-Length", &name)]),
        ] {
            assert!(why.contains('…'), "{why}");
            // An escape turns each shown byte into up to six.
            assert!(why.len() < 6 * MAX_SHOWN_BYTES + 100, "{why}");
        }
    }

    #[test]
    fn b3_a_length_is_taken_from_one_field_or_from_several_that_agree() {
        let field = |value: &str| ("Content-Length".to_owned(), value.as_bytes().to_vec());
        let length = |fields: &[_]| check(b"200 OK", fields, LIMIT).map(|head| head.length);
        assert_eq!(length(&[]), Ok(None));
        assert_eq!(length(&[field("5")]), Ok(Some(5)));
        assert_eq!(length(&[field("5"), field("05")]), Ok(Some(5)));
        for wrong in ["", "abc", "5,5", " 5", "-5", "9223372036854775808"] {
            assert!(length(&[field(wrong)]).is_err(), "{wrong:?}");
        }
    }
}
