//! The head of a response, written so that no field can break the framing.
//!
//! ```text
//! status-line   = HTTP-version SP status-code SP [ reason-phrase ]     RFC 9112 section 4
//! reason-phrase = 1*( HTAB / SP / VCHAR / obs-text )
//! field-line    = field-name ":" OWS field-value OWS                   RFC 9112 section 5
//! ```
//!
//! The gateway already checked the caller's fields when the handler passed them. The encoder checks
//! them again because nothing after it does: it skips and counts each field that could end a line
//! or change the framing of the message.

use wasgi_fields::bytes::{decimal, is_token, is_value_byte};
use wasgi_fields::names::is_connection_field;

use super::response::{BodyLength, ResponseHead, Skipped, Stamp};

/// The initial capacity for a head without its caller's fields, so that most heads need one
/// allocation.
const HEAD_BYTES: usize = 256;

/// How the end of a response body is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// The response has no body, whatever its length field says.
    NoBody,
    /// Content-Length: this many bytes are outstanding.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The end of the connection.
    Close,
}

/// The connection option that the head contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionOption {
    /// None: HTTP/1.1 is persistent by default.
    Unsaid,
    /// `keep-alive`, which HTTP/1.0 requires.
    KeepAlive,
    Close,
}

/// Returns the status to send: `status` if it is in 200 to 999, otherwise 500. After a handler's
/// 1xx, the client would wait for another response, and a status code has three digits.
pub(super) fn wire_status(status: u16) -> u16 {
    if (200..=999).contains(&status) {
        status
    } else {
        500
    }
}

/// Returns whether a response with this status has no body, whatever the handler provides (RFC 9110
/// sections 6.4.1 and 15.3.6).
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

/// Writes a head, including the body length.
pub(super) fn write_head<'a, F>(
    head: &ResponseHead<'a, F>,
    delimiter: Delimiter,
    length: BodyLength,
    connection: ConnectionOption,
    stamp: &Stamp<'_>,
    out: &mut Vec<u8>,
) -> Skipped<'a>
where
    F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
{
    let status = wire_status(head.status);
    out.reserve(HEAD_BYTES);
    write_status_line(status, head.reason, out);
    let (skipped, present) = write_fields(head.fields.clone(), status, length, out);
    if !present.date {
        write_field("Date", stamp.date, out);
    }
    if let Some(server) = stamp
        .server
        .filter(|server| !present.server && is_value(server.as_bytes()))
    {
        write_field("Server", server.as_bytes(), out);
    }
    match (delimiter, length) {
        (Delimiter::Length(length), _) => write_length(length, out),
        // A 205 has no content, but its status alone doesn't say so: clients look for a length.
        (Delimiter::NoBody, _) if status == 205 => write_length(0, out),
        // For HEAD, send the length that GET would have (RFC 9110 section 8.6). A 204 has no
        // length, and a 304 would need the length of a body that the server doesn't have.
        (Delimiter::NoBody, BodyLength::Known(length)) if !is_bodiless(status) => {
            write_length(length, out);
        }
        (Delimiter::Chunked, _) => write_field("Transfer-Encoding", b"chunked", out),
        (Delimiter::NoBody | Delimiter::Close, _) => {}
    }
    match connection {
        ConnectionOption::Unsaid => {}
        ConnectionOption::KeepAlive => write_field("Connection", b"keep-alive", out),
        ConnectionOption::Close => write_field("Connection", b"close", out),
    }
    out.extend_from_slice(b"\r\n");
    skipped
}

/// Whether the caller provided fields that the server adds otherwise.
#[derive(Default)]
struct Present {
    date: bool,
    server: bool,
}

/// The categories of response fields that the encoder distinguishes.
enum Kind {
    Date,
    Server,
    ContentLength,
    /// A field for this connection alone (RFC 9110 section 7.6.1), which only the server may set.
    HopByHop,
    Other,
}

impl Kind {
    fn from_name(name: &str) -> Self {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is("Date") => Self::Date,
            6 if is("Server") => Self::Server,
            14 if is("Content-Length") => Self::ContentLength,
            _ if is_connection_field(name) => Self::HopByHop,
            _ => Self::Other,
        }
    }
}

fn write_fields<'a>(
    fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    status: u16,
    length: BodyLength,
    out: &mut Vec<u8>,
) -> (Skipped<'a>, Present) {
    let mut skipped = Skipped::default();
    let mut present = Present::default();
    for (name, value) in fields {
        let is_sent = match Kind::from_name(name) {
            Kind::HopByHop => false,
            // The encoder writes this field. One that agrees with its value is not counted.
            Kind::ContentLength => {
                let says_the_same = decimal(value).map(BodyLength::Known) == Some(length);
                if says_the_same || is_bodiless(status) {
                    continue;
                }
                false
            }
            _ => is_token(name.as_bytes()) && is_value(value),
        };
        if !is_sent {
            skipped.count += 1;
            skipped.first.get_or_insert(name);
            continue;
        }
        present.date |= matches!(Kind::from_name(name), Kind::Date);
        present.server |= matches!(Kind::from_name(name), Kind::Server);
        write_field(name, value, out);
    }
    (skipped, present)
}

fn write_status_line(status: u16, reason: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    write_decimal(u64::from(status), out);
    out.push(b' ');
    if is_value(reason) {
        out.extend_from_slice(reason);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(length: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Content-Length: ");
    write_decimal(length, out);
    out.extend_from_slice(b"\r\n");
}

/// Returns whether all bytes may be in a field value. Checks every byte, which compilers turn into
/// vector code; stopping early would be slower for values of usual length.
fn is_value(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(true, |good, &byte| good & is_value_byte(byte))
}

/// Writes 1*DIGIT without the formatting machinery, because every response needs it.
fn write_decimal(number: u64, out: &mut Vec<u8>) {
    write_digits(number, 10, out);
}

/// Writes 1*HEXDIG, for chunk sizes.
pub(super) fn write_hexadecimal(number: u64, out: &mut Vec<u8>) {
    write_digits(number, 16, out);
}

fn write_digits(mut number: u64, base: u64, out: &mut Vec<u8>) {
    // 2^64 has 20 decimal digits.
    let mut digits = [0; 20];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number % base) as usize];
        number /= base;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn head<'a>(
        fields: &'a [(&'a str, &'a [u8])],
    ) -> ResponseHead<'a, impl Iterator<Item = (&'a str, &'a [u8])> + Clone> {
        ResponseHead {
            status: 200,
            reason: b"OK",
            fields: fields.iter().copied(),
        }
    }

    fn encode(fields: &[(&str, &[u8])]) -> (String, usize) {
        let stamp = Stamp {
            date: DATE,
            server: Some("wasgi"),
        };
        let mut out = Vec::new();
        let length = BodyLength::Known(5);
        let unsaid = ConnectionOption::Unsaid;
        let skipped = write_head(
            &head(fields),
            Delimiter::Length(5),
            length,
            unsaid,
            &stamp,
            &mut out,
        );
        (String::from_utf8_lossy(&out).into_owned(), skipped.count)
    }

    #[test]
    fn a_head_is_written_as_status_line_and_fields() {
        let (text, skipped) = encode(&[("Content-Type", b"text/plain"), ("X", b"")]);
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX: \r\nDate: Sun, 06 Nov 1994 08:49:37 \
             GMT\r\nServer: wasgi\r\nContent-Length: 5\r\n\r\n"
        );
        assert_eq!(skipped, 0);
    }

    #[test]
    fn the_callers_date_and_server_win() {
        let (text, _) = encode(&[("date", b"today"), ("SERVER", b"me")]);
        assert_eq!(
            text,
            "HTTP/1.1 200 OK\r\ndate: today\r\nSERVER: me\r\nContent-Length: 5\r\n\r\n"
        );
    }

    #[test]
    fn repeated_fields_are_kept() {
        let (text, _) = encode(&[("Set-Cookie", b"a"), ("Set-Cookie", b"b")]);
        assert!(text.contains("Set-Cookie: a\r\nSet-Cookie: b\r\n"));
    }

    #[test]
    fn what_could_break_framing_is_skipped_and_counted() {
        let bad: [(&str, &[u8]); 17] = [
            ("Connection", b"close"),
            ("keep-alive", b"timeout=5"),
            ("Proxy-Connection", b"close"),
            ("TE", b"trailers"),
            ("Trailer", b"X"),
            ("transfer-encoding", b"chunked"),
            ("Upgrade", b"h2c"),
            ("Content-Length", b"6"),
            ("Content-Length", b"5, 5"),
            ("Content-Length", b"+5"),
            ("X", b"a\r\nY: b"),
            ("X", b"a\nb"),
            ("X", b"a\rb"),
            ("X", b"a\0b"),
            ("X\r\nY", b"a"),
            ("X ", b"a"),
            ("", b"a"),
        ];
        let (clean, _) = encode(&[]);
        for field in bad {
            assert_eq!(encode(&[field]), (clean.clone(), 1), "{field:?}");
        }
        assert_eq!(encode(&[("content-length", b"5")]), (clean, 0));
        let stamp = Stamp {
            date: DATE,
            server: None,
        };
        let mut out = Vec::new();
        let skipped = write_head(
            &head(&bad),
            Delimiter::Chunked,
            BodyLength::Unknown,
            ConnectionOption::Close,
            &stamp,
            &mut out,
        );
        assert_eq!(
            skipped,
            Skipped {
                count: 17,
                first: Some("Connection")
            }
        );
    }

    #[test]
    fn the_status_line_is_always_one() {
        for (status, reason, line) in [
            (404, &b"Not Found"[..], &b"HTTP/1.1 404 Not Found\r\n"[..]),
            (299, b"", b"HTTP/1.1 299 \r\n"),
            (200, b"a\r\nb", b"HTTP/1.1 200 \r\n"),
            (200, b"Caf\xe9", b"HTTP/1.1 200 Caf\xe9\r\n"),
            (100, b"Continue", b"HTTP/1.1 500 Continue\r\n"),
            (0, b"", b"HTTP/1.1 500 \r\n"),
            (65535, b"", b"HTTP/1.1 500 \r\n"),
        ] {
            let mut out = Vec::new();
            write_status_line(wire_status(status), reason, &mut out);
            assert_eq!(out, line);
        }
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_formats_them() {
        for number in [0, 1, 9, 10, 255, 4096, u64::from(u32::MAX), u64::MAX] {
            let (mut decimal, mut hexadecimal) = (Vec::new(), Vec::new());
            write_decimal(number, &mut decimal);
            write_hexadecimal(number, &mut hexadecimal);
            assert_eq!(decimal, number.to_string().as_bytes());
            assert_eq!(hexadecimal, format!("{number:x}").as_bytes());
        }
    }
}
