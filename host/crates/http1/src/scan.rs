//! A scanner that finds the end of a head line by line. It reads each byte once, regardless of how
//! the bytes are split.
//!
//! ```text
//! HTTP-message = start-line CRLF *( field-line CRLF ) CRLF [ message-body ]   RFC 9112 section 2.1
//! ```
//!
//! A line ends in CR LF. The scanner rejects a bare LF, which section 2.2 lets a recipient accept
//! as a line ending, and a bare CR, which it forbids: two parsers on the path must not see
//! different lines. Limits are checked where they are exceeded, so a verdict depends only on the
//! bytes before it. It is therefore independent of how the bytes were split.

use memchr::memchr2;
use wasgi_fields::bytes::{is_ows, is_tchar};

use super::error::Rejection;
use super::limits::Limits;
use super::request_line::RequestLine;

/// A head whose end was found and whose lines have valid endings and lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) request_line: RequestLine,
    /// The start of the first field line.
    pub(super) fields_start: usize,
    /// The number of field lines.
    pub(super) fields_count: usize,
    /// The start of the body, after the empty line.
    pub(super) end: usize,
}

/// The progress of the search for the end of a head.
///
/// `line_start <= scanned`, and there is no CR or LF in between, except a CR at `scanned` whose LF
/// has not arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeadScanner {
    line_start: u32,
    scanned: u32,
    fields_count: u32,
    /// The request line and the end of its CRLF, once it is complete.
    request_line: Option<(RequestLine, u32)>,
}

/// The result of the search for the end of a line.
enum Line {
    /// More bytes are needed.
    Incomplete,
    /// The content of the line ends at this index, and its CRLF two bytes later.
    EndsAt(usize),
}

impl HeadScanner {
    /// Continues with `bytes`: the head from its first byte to the last one received.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
    ) -> Result<Option<Lines>, Rejection> {
        // No method begins like this: it is a TLS handshake, a bare CR or garbage. Waiting for the
        // end of a line would end in a timeout.
        if bytes.first().is_some_and(|&byte| !is_tchar(byte)) {
            return Err(Rejection::bad("the request does not begin with a method"));
        }
        loop {
            let Line::EndsAt(line_end) = self.find_line(bytes, limits)? else {
                return Ok(None);
            };
            let line = bytes
                .get(self.line_start as usize..line_end)
                .unwrap_or_default();
            let next_line = line_end + 2;
            match self.request_line {
                None => {
                    let request_line = RequestLine::parse(line)?;
                    self.request_line = Some((request_line, to_u32(next_line)));
                }
                Some((request_line, fields_start)) if line.is_empty() => {
                    return Ok(Some(Lines {
                        request_line,
                        fields_start: fields_start as usize,
                        fields_count: self.fields_count as usize,
                        end: next_line,
                    }));
                }
                Some(_) => self.count_field(line, limits)?,
            }
            self.line_start = to_u32(next_line);
            self.scanned = self.line_start;
        }
    }

    /// Searches for the end of the current line, up to the maximum length of that line.
    fn find_line(&mut self, bytes: &[u8], limits: &Limits) -> Result<Line, Rejection> {
        let (line_bytes, too_long) = self.line_limit(limits);
        // One byte more than the maximum length: the last place where its CR can be.
        let longest = (self.line_start as usize)
            .saturating_add(line_bytes)
            .saturating_add(1);
        let scanned = self.scanned as usize;
        let window = bytes
            .get(scanned..bytes.len().min(longest))
            .unwrap_or_default();
        let Some(offset) = memchr2(b'\r', b'\n', window) else {
            if bytes.len() >= longest {
                return Err(too_long);
            }
            self.scanned = to_u32(bytes.len());
            return Ok(Line::Incomplete);
        };
        let at = scanned + offset;
        self.scanned = to_u32(at);
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => Ok(Line::EndsAt(at)),
            (Some(b'\r'), None) => Ok(Line::Incomplete),
            (Some(b'\r'), Some(_)) => Err(Rejection::bad("a CR without an LF in the head")),
            _ => Err(Rejection::bad(
                "a line of the head ends in an LF without a CR",
            )),
        }
    }

    /// Returns the maximum length of the current line, without its CRLF, and the rejection for a
    /// longer one.
    fn line_limit(&self, limits: &Limits) -> (usize, Rejection) {
        let Some((_, fields_start)) = self.request_line else {
            let too_long = Rejection::new(414, "the request line is too long");
            return (limits.request_line_bytes, too_long);
        };
        let used = (self.line_start - fields_start) as usize;
        let left = limits.fields_bytes.saturating_sub(used + 2);
        if left < limits.field_line_bytes {
            (left, Rejection::new(431, "the fields are too long"))
        } else {
            (
                limits.field_line_bytes,
                Rejection::new(431, "a field line is too long"),
            )
        }
    }

    fn count_field(&mut self, line: &[u8], limits: &Limits) -> Result<(), Rejection> {
        // obs-fold (RFC 9112 section 5.2), or whitespace before the first field (section 2.2).
        if line.first().is_some_and(|&byte| is_ows(byte)) {
            return Err(Rejection::bad("a field line begins with whitespace"));
        }
        self.fields_count += 1;
        if self.fields_count as usize > limits.fields_count {
            return Err(Rejection::new(431, "too many fields"));
        }
        Ok(())
    }
}

/// Converts an index into a head. Heads are limited in length, and their limits are memory per
/// connection. With a limit above 4 GiB, the end of a longer head would not be found.
fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            request_line_bytes: 20,
            field_line_bytes: 10,
            fields_bytes: 30,
            fields_count: 3,
            ..Limits::default()
        }
    }

    /// Returns the verdict and the number of bytes it needed: 0 if there is none.
    fn verdict(bytes: &[u8]) -> (Result<Option<Lines>, Rejection>, usize) {
        let mut scanner = HeadScanner::default();
        for len in 0..=bytes.len() {
            let verdict = scanner.scan(&bytes[..len], &limits());
            if verdict != Ok(None) {
                return (verdict, len);
            }
        }
        (Ok(None), 0)
    }

    fn status(bytes: &[u8]) -> u16 {
        let (byte_by_byte, len) = verdict(bytes);
        let at_once = HeadScanner::default().scan(bytes, &limits());
        assert_eq!(at_once, byte_by_byte, "{}", bytes.escape_ascii());
        match at_once {
            Ok(Some(lines)) => {
                assert_eq!(lines.end, len);
                200
            }
            Ok(None) => 0,
            Err(rejection) => rejection.status,
        }
    }

    #[test]
    fn verdicts_do_not_depend_on_the_split() {
        let table: [(&[u8], u16); 22] = [
            (b"GET / HTTP/1.1\r\n\r\n", 200),
            (b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest", 200),
            (b"GET / HTTP/1.1\r\nA: b\r\n\r", 0),
            (b"", 0),
            (b"GET /34567890 HTTP/1.1\r\n\r\n", 414),
            (b"GET /345678 HTTP/1.1\r\n\r\n", 200),
            (b"GET /3456789 HTTP/1.1\r\n\r\n", 414),
            (b"GET /345678901234567890", 414),
            (b"GET / HTTP/1.1\r\n1234567890\r\n\r\n", 200),
            (b"GET / HTTP/1.1\r\n12345678901\r\n\r\n", 431),
            (
                b"GET / HTTP/1.1\r\n12345678\r\n12345678\r\n12345678\r\n\r\n",
                200,
            ),
            (
                b"GET / HTTP/1.1\r\n12345678\r\n12345678\r\n123456789\r\n\r\n",
                431,
            ),
            (b"GET / HTTP/1.1\r\n1\r\n1\r\n1\r\n\r\n", 200),
            (b"GET / HTTP/1.1\r\n1\r\n1\r\n1\r\n1\r\n\r\n", 431),
            (b"GET / HTTP/1.1\n\n", 400),
            (b"GET / HTTP/1.1\r\nA: b\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\rA: b\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n A: b\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00", 400),
            (b"\rGET / HTTP/1.1\r\n\r\n", 400),
        ];
        for (bytes, expected) in table {
            assert_eq!(status(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_verdict_comes_as_early_as_it_can() {
        assert_eq!(verdict(b"\x16\x03\x01").1, 1);
        assert_eq!(verdict(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n").1, 16);
        assert_eq!(verdict(b"GET /34567890 HTTP/1.1").1, 21);
        assert_eq!(verdict(b"GET / HTTP/1.1\n").1, 15);
    }
}
