//! The end of a response and whether it is good: the part of HTTP that a load generator reads.
//!
//! A response must have a length. Chunked responses are rejected: none of the measured servers has
//! a reason to send one.

/// The maximum length of a head: the expected responses are shorter.
const HEAD_LIMIT_BYTES: usize = 16 * 1024;

/// A response that is being read.
#[derive(Debug, PartialEq)]
pub(crate) enum Response {
    /// The part of the head that has been received.
    Head(Vec<u8>),
    /// The number of bytes of the body that are missing.
    Body { left: u64, verdict: Verdict },
}

/// The result of parsing a head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    /// The status is 200.
    pub(crate) good: bool,
    /// The server closes the connection after it.
    pub(crate) closes: bool,
}

/// The response can't be parsed.
#[derive(Debug, PartialEq)]
pub(crate) struct Unreadable;

impl Response {
    pub(crate) fn new() -> Self {
        Self::Head(Vec::new())
    }

    /// Adds received bytes. Returns the verdict when they complete the response. Bytes after its
    /// end were not requested, and are ignored.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Verdict>, Unreadable> {
        let (verdict, left) = match self {
            Self::Head(begun) if begun.is_empty() => match parse(bytes)? {
                Some((verdict, end)) => (verdict, end.checked_sub(bytes.len() as u64)),
                None => {
                    begun.extend_from_slice(bytes);
                    return Ok(None);
                }
            },
            Self::Head(begun) => {
                begun.extend_from_slice(bytes);
                match parse(begun)? {
                    Some((verdict, end)) => (verdict, end.checked_sub(begun.len() as u64)),
                    None => return Ok(None),
                }
            }
            Self::Body { left, verdict } => (*verdict, left.checked_sub(bytes.len() as u64)),
        };
        match left {
            None | Some(0) => {
                *self = Self::new();
                Ok(Some(verdict))
            }
            Some(left) => {
                *self = Self::Body { left, verdict };
                Ok(None)
            }
        }
    }
}

/// Parses a head. The number is the offset of the response's end from its first byte.
fn parse(bytes: &[u8]) -> Result<Option<(Verdict, u64)>, Unreadable> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_LIMIT_BYTES {
            Err(Unreadable)
        } else {
            Ok(None)
        };
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Unreadable)?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().ok_or(Unreadable)?;
    let rest = status_line.strip_prefix("HTTP/1.").ok_or(Unreadable)?;
    let mut verdict = Verdict {
        good: rest.get(2..5) == Some("200"),
        closes: rest.starts_with('0'),
    };
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<u64>().map_err(|_| Unreadable)?);
        } else if name.eq_ignore_ascii_case("connection") {
            verdict.closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let length = length.ok_or(Unreadable)?;
    Ok(Some((verdict, length.saturating_add(end as u64 + 4))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Verdict = Verdict {
        good: true,
        closes: false,
    };

    #[test]
    fn a_response_ends_where_it_says_however_it_is_cut() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Type: a\r\ncontent-length:  5\r\n\r\nabcde";
        for cut in 1..bytes.len() {
            let mut response = Response::new();
            assert_eq!(response.take(&bytes[..cut]), Ok(None), "cut at {cut}");
            assert_eq!(response.take(&bytes[cut..]), Ok(Some(GOOD)), "cut at {cut}");
            assert_eq!(response, Response::new());
        }
        assert_eq!(Response::new().take(bytes), Ok(Some(GOOD)));
    }

    #[test]
    fn a_response_that_comes_byte_by_byte_is_complete_with_its_last() {
        let bytes = b"HTTP/1.1 404 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab";
        let mut response = Response::new();
        let mut verdicts: Vec<_> = bytes.iter().map(|byte| response.take(&[*byte])).collect();
        let last = verdicts.pop();
        assert!(verdicts.iter().all(|verdict| *verdict == Ok(None)));
        let bad = Verdict {
            good: false,
            closes: true,
        };
        assert_eq!(last, Some(Ok(Some(bad))));
    }

    #[test]
    fn an_empty_body_ends_with_the_head() {
        let bytes = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n";
        let verdict = Response::new().take(bytes).expect("readable");
        assert!(verdict.is_some_and(|verdict| verdict.good && verdict.closes));
    }

    #[test]
    fn what_has_no_length_or_is_no_http_is_unreadable() {
        for bytes in [
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"SSH-2.0-x\r\n\r\n",
            &[b'x'; HEAD_LIMIT_BYTES + 1],
        ] {
            assert_eq!(Response::new().take(bytes), Err(Unreadable));
        }
    }
}
