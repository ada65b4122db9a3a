//! What `start_response` has been told so far: the rules of the response's head.

use std::fmt;

use crate::printable;

/// Fields of one head. Servers commonly take a hundred of a client; a response has more where it
/// sets many cookies, or links many things.
const FIELDS_COUNT: usize = 1_000;

/// What a refusal shows of a status, a name or a value, in bytes: enough to know it by.
const SHOWN_BYTES: usize = 100;

/// The head of a response, checked: it can be written to the wire as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code, 200 to 999.
    pub status: u16,
    /// The reason phrase: bytes, as on the wire. May be empty.
    pub reason: Vec<u8>,
    /// The fields in the handler's order, repeats kept, without `Content-Length`.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The `Content-Length` that the handler declared, in bytes (B3).
    pub length: Option<u64>,
}

/// Why `start_response` refused a call. Nothing is changed by a refused call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// Called before, and no exc_info given (R3).
    AlreadyStarted,
    /// With exc_info, but the head has been sent (R3).
    HeadSent,
    /// The values may not be sent (R1): which, and why.
    Refused(String),
}

/// Where a response is between the handler's first word and the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Response {
    /// `start_response` has not been called.
    #[default]
    NotStarted,
    /// The head is known, and held back until there is a block to go with it (R2).
    Ready(Head),
    /// The head is on its way.
    Sent,
}

impl Response {
    /// One call of `start_response`. With `exc_info` a head that has not been sent is replaced.
    ///
    /// `limit_bytes` is what the status and all fields may measure together.
    ///
    /// # Errors
    ///
    /// As [`StartError`] says; the response is then as it was before.
    pub fn start(
        &mut self,
        status: &[u8],
        fields: Vec<(String, Vec<u8>)>,
        exc_info: bool,
        limit_bytes: usize,
    ) -> Result<(), StartError> {
        match self {
            Self::Sent if exc_info => return Err(StartError::HeadSent),
            Self::Sent => return Err(StartError::AlreadyStarted),
            Self::Ready(_) if !exc_info => return Err(StartError::AlreadyStarted),
            Self::Ready(_) | Self::NotStarted => {}
        }
        *self = Self::Ready(Head::check(status, fields, limit_bytes)?);
        Ok(())
    }

    /// Takes the head to send it, if it is known and has not been sent.
    pub fn send(&mut self) -> Option<Head> {
        match std::mem::replace(self, Self::Sent) {
            Self::Ready(head) => Some(head),
            other => {
                *self = other;
                None
            }
        }
    }
}

impl Head {
    /// Checks what a handler wants to send (R1).
    fn check(
        status: &[u8],
        mut fields: Vec<(String, Vec<u8>)>,
        limit_bytes: usize,
    ) -> Result<Self, StartError> {
        check_size(status, &fields, limit_bytes)?;
        let (code, reason) = parse_status(status)?;
        let mut length = None;
        for (name, value) in &fields {
            check_name(name)?;
            check_value(name, value)?;
            if name.eq_ignore_ascii_case("content-length") {
                let declared = parse_length(value)?;
                if length.is_some_and(|before| before != declared) {
                    return refuse("two different Content-Length fields");
                }
                length = Some(declared);
            }
        }
        if length.is_some() {
            fields.retain(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
        }
        Ok(Self {
            status: code,
            reason: reason.to_owned(),
            fields,
            length,
        })
    }
}

/// Sees that a head is no larger than it may be, before anything of it is looked at.
fn check_size(
    status: &[u8],
    fields: &[(String, Vec<u8>)],
    limit_bytes: usize,
) -> Result<(), StartError> {
    let count = fields.len();
    if count > FIELDS_COUNT {
        return refuse(format!(
            "the head has {count} fields; the limit is {FIELDS_COUNT}"
        ));
    }
    let sizes = fields.iter().map(|(name, value)| name.len() + value.len());
    let bytes = status.len() + sizes.sum::<usize>();
    if bytes > limit_bytes {
        return refuse(format!(
            "the head measures {bytes} bytes; the limit is {limit_bytes} (--max-response-head)"
        ));
    }
    Ok(())
}

/// `"200 OK"`: three digits, a space and a reason (PEP 3333, "The start_response() Callable").
///
/// 1xx is refused: interim responses are the host's to send, and 101 would end HTTP.
fn parse_status(status: &[u8]) -> Result<(u16, &[u8]), StartError> {
    let wrong = || {
        StartError::Refused(format!(
            "status {}: expected three digits and a reason, such as \"200 OK\"",
            shown_bytes(status)
        ))
    };
    let (digits, rest) = status.split_first_chunk::<3>().ok_or_else(wrong)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let code = digits
        .iter()
        .fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    if code < 200 {
        return refuse(format!(
            "status {}: codes below 200 are the server's own to send",
            shown_bytes(status)
        ));
    }
    let reason = match rest {
        [b' ', reason @ ..] => reason,
        [] => rest,
        _ => return Err(wrong()),
    };
    // reason-phrase = 1*( HTAB / SP / VCHAR / obs-text ), RFC 9112 section 4.
    if reason.iter().copied().any(is_control) {
        return refuse(format!(
            "status {}: a control character in the reason",
            shown_bytes(status)
        ));
    }
    Ok((code, reason))
}

fn check_name(name: &str) -> Result<(), StartError> {
    if name.is_empty() || !name.bytes().all(is_token) {
        return refuse(format!(
            "field name {}: not a token (RFC 9110 section 5.6.2)",
            shown(name)
        ));
    }
    if name.eq_ignore_ascii_case("status") {
        return refuse("a Status field: the status is the first argument of start_response");
    }
    if HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop)) {
        return refuse(format!(
            "field {name}: hop-by-hop fields are the server's own to send"
        ));
    }
    Ok(())
}

fn check_value(name: &str, value: &[u8]) -> Result<(), StartError> {
    if value.iter().copied().any(is_control) {
        return refuse(format!(
            "field {}: a control character in the value",
            shown_bare(name)
        ));
    }
    Ok(())
}

fn parse_length(value: &[u8]) -> Result<u64, StartError> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| {
            StartError::Refused(format!(
                "Content-Length {}: not a number of bytes",
                shown_bytes(value)
            ))
        })
}

/// The front of a text in quotes, with control characters by their escapes.
fn shown(text: &str) -> String {
    format!("{:?}{}", front(text), dots(text))
}

/// The front of bytes that are a text, most likely, in quotes.
fn shown_bytes(bytes: &[u8]) -> String {
    // One byte more than is shown says that there is more.
    let front = bytes.get(..=SHOWN_BYTES).unwrap_or(bytes);
    shown(&String::from_utf8_lossy(front))
}

/// The front of a name that is a token.
fn shown_bare(name: &str) -> String {
    format!("{}{}", front(name), dots(name))
}

fn front(text: &str) -> &str {
    printable::front(text, SHOWN_BYTES)
}

fn dots(text: &str) -> &'static str {
    if front(text).len() < text.len() {
        "…"
    } else {
        ""
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, StartError> {
    Err(StartError::Refused(why.into()))
}

/// The fields that PEP 3333 forbids to applications, by way of RFC 2616 section 13.5.1; and
/// `Proxy-Connection`, which is none but is treated as one by those who send it.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// tchar of RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What may not stand in a field value or a reason: every control character but HTAB (RFC 9110
/// section 5.5).
fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted => f.write_str("start_response was called before"),
            Self::HeadSent => f.write_str("the head has been sent already"),
            Self::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024;

    fn start(status: &str, fields: &[(&str, &str)]) -> Result<Head, StartError> {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
            .collect();
        let mut response = Response::default();
        response.start(status.as_bytes(), fields, false, LIMIT)?;
        Ok(response.send().expect("a head was set"))
    }

    fn refused(status: &str, fields: &[(&str, &str)]) -> String {
        match start(status, fields) {
            Err(StartError::Refused(why)) => why,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn r1_repeated_fields_are_kept_in_order() {
        let head = start(
            "200 OK",
            &[("Set-Cookie", "a=1"), ("X", "y"), ("Set-Cookie", "b=2")],
        );
        let fields = head.unwrap().fields;
        let names: Vec<_> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Set-Cookie", "X", "Set-Cookie"]);
    }

    #[test]
    fn r1_statuses() {
        assert_eq!(start("404 Not Found", &[]).unwrap().reason, b"Not Found");
        assert_eq!(start("299 ", &[]).unwrap().reason, b"");
        assert_eq!(start("299", &[]).unwrap().status, 299);
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
        assert!(refused("101 Switching Protocols", &[]).contains("server's own"));
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
        let many = vec![("\0", "\0"); FIELDS_COUNT + 1];
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
            // Each byte that is shown takes six by its escape.
            assert!(why.len() < 6 * SHOWN_BYTES + 100, "{why}");
        }
    }

    #[test]
    fn b3_a_declared_length_is_taken_out_of_the_fields() {
        let head = start("200 OK", &[("Content-Length", "5"), ("X", "y")]).unwrap();
        assert_eq!(head.length, Some(5));
        assert_eq!(head.fields.len(), 1);
    }

    #[test]
    fn r3_a_second_call_needs_exc_info() {
        let mut response = Response::default();
        response.start(b"200 OK", vec![], false, LIMIT).unwrap();
        let again = response.start(b"201 Created", vec![], false, LIMIT);
        assert_eq!(again, Err(StartError::AlreadyStarted));
        response.start(b"500 Oops", vec![], true, LIMIT).unwrap();
        assert_eq!(response.send().map(|head| head.status), Some(500));
        assert_eq!(
            response.start(b"500 Oops", vec![], true, LIMIT),
            Err(StartError::HeadSent)
        );
        assert_eq!(
            response.start(b"200 OK", vec![], false, LIMIT),
            Err(StartError::AlreadyStarted)
        );
        assert_eq!(response.send(), None);
    }

    #[test]
    fn r3_a_refused_replacement_changes_nothing() {
        let mut response = Response::default();
        response.start(b"200 OK", vec![], false, LIMIT).unwrap();
        assert!(response.start(b"nonsense", vec![], true, LIMIT).is_err());
        assert_eq!(response.send().map(|head| head.status), Some(200));
    }
}
