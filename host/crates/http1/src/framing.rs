//! The fields of a head that describe the message itself: the framing of its body, the persistence
//! of the connection, and the host. One pass reads the fields; then the rules apply.
//!
//! ```text
//! Host              = uri-host [ ":" port ]                          RFC 9110 section 7.2
//! Content-Length    = 1*DIGIT                                        RFC 9110 section 8.6
//! Transfer-Encoding = [ transfer-coding *( OWS "," OWS transfer-coding ) ]
//! transfer-coding   = token *( OWS ";" OWS transfer-parameter )      RFC 9112 section 6.1
//! Connection        = [ connection-option *( OWS "," OWS connection-option ) ]
//! Expect            = [ expectation *( OWS "," OWS expectation ) ]   RFC 9110 section 10.1.1
//! ```
//!
//! The rules are stricter than the RFCs require: Content-Length appears at most once, even if the
//! values agree; a list of codings has no empty elements; a request with both lengths is rejected,
//! not repaired. Each of these cases has been used for request smuggling.

use wasgi_fields::bytes::{decimal, is_token, trim};

use super::authority::is_authority;
use super::body::RequestBody;
use super::error::Rejection;
use super::limits::Limits;
use super::version::Version;

/// The framing fields of a message, as far as they were read. Borrows their values.
#[derive(Debug, Default)]
pub(super) struct Framing<'b> {
    host: Option<&'b [u8]>,
    content_length: Option<u64>,
    codings: Codings,
    close: bool,
    keep_alive: bool,
    expects_continue: bool,
    expects_other: bool,
}

/// The transfer codings of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Codings {
    /// A Transfer-Encoding field is present.
    any: bool,
    /// The last coding so far is `chunked`.
    chunked: bool,
    /// At least one other coding is registered, but not implemented here.
    known: bool,
    /// At least one coding is unknown.
    unknown: bool,
}

impl<'b> Framing<'b> {
    /// Records a field if it is one of those above.
    pub(super) fn note(&mut self, name: &[u8], value: &'b [u8]) -> Result<(), Rejection> {
        // Compare lengths first: most fields are none of these and need only one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"Host") => self.note_host(value),
            6 if name.eq_ignore_ascii_case(b"Expect") => {
                self.note_expect(value);
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"Connection") => {
                self.note_connection(value);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"Content-Length") => self.note_length(value),
            17 if name.eq_ignore_ascii_case(b"Transfer-Encoding") => self.note_codings(value),
            _ => Ok(()),
        }
    }

    /// Records a Host field. RFC 9112 section 3.2: more than one Host, or an invalid one, is 400.
    /// [`Self::host`] decides whether it may be empty.
    fn note_host(&mut self, value: &'b [u8]) -> Result<(), Rejection> {
        if self.host.replace(value).is_some() {
            return Err(Rejection::bad("more than one Host field"));
        }
        if !value.is_empty() && !is_authority(value) {
            return Err(Rejection::bad("the Host field is malformed"));
        }
        Ok(())
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Rejection> {
        let length =
            decimal(value).ok_or(Rejection::bad("the Content-Length is not a valid length"))?;
        if self.content_length.replace(length).is_some() {
            return Err(Rejection::bad("more than one Content-Length field"));
        }
        Ok(())
    }

    fn note_codings(&mut self, value: &[u8]) -> Result<(), Rejection> {
        self.codings.any = true;
        for coding in value.split(|&byte| byte == b',').map(trim) {
            self.codings.note(coding)?;
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(trim) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn note_expect(&mut self, value: &[u8]) {
        for expectation in value.split(|&byte| byte == b',').map(trim) {
            if expectation.eq_ignore_ascii_case(b"100-continue") {
                self.expects_continue = true;
            } else if !expectation.is_empty() {
                self.expects_other = true;
            }
        }
    }

    /// Returns the value of the Host field. `is_named` says whether the target itself names a host.
    ///
    /// RFC 9112 section 3.2: an HTTP/1.1 request without Host is 400, even with an absolute target.
    /// A client sends an empty one for a URI without authority; but every http URI has one, and an
    /// http URI with an empty host must be rejected (RFC 9110 section 4.2.1). HTTP/1.0 doesn't
    /// require Host.
    pub(super) fn host(
        &self,
        version: Version,
        is_named: bool,
    ) -> Result<Option<&'b [u8]>, Rejection> {
        match self.host {
            _ if version == Version::Http10 => Ok(self.host),
            None => Err(Rejection::bad("the Host field is missing")),
            Some(b"") if !is_named => Err(Rejection::bad("the Host field is empty")),
            Some(_) => Ok(self.host),
        }
    }

    /// Returns the framing of the body: the rules of RFC 9112 section 6.3 for a request, in order.
    pub(super) fn body(&self, version: Version, limits: &Limits) -> Result<RequestBody, Rejection> {
        match (self.codings.any, self.content_length) {
            (true, Some(_)) => Err(Rejection::bad(
                "both Transfer-Encoding and Content-Length are present",
            )),
            (true, None) if version == Version::Http10 => Err(Rejection::bad(
                "Transfer-Encoding is not allowed in HTTP/1.0",
            )),
            (true, None) => self.codings.body(),
            (false, Some(length)) if length > limits.body_bytes => {
                Err(Rejection::new(413, "the body is too large"))
            }
            (false, Some(length)) => Ok(RequestBody::Length(length)),
            (false, None) => Ok(RequestBody::None),
        }
    }

    /// Returns whether the client waits for a `100 Continue`. RFC 9110 section 10.1.1 says to
    /// ignore it in HTTP/1.0. Any other expectation is 417 in every version.
    pub(super) fn expects_continue(&self, version: Version) -> Result<bool, Rejection> {
        if self.expects_other {
            return Err(Rejection::new(417, "the expectation is unknown"));
        }
        Ok(self.expects_continue && version == Version::Http11)
    }

    /// Returns whether another request may follow: the rules of RFC 9112 section 9.3, in order.
    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        match version {
            _ if self.close => false,
            Version::Http11 => true,
            Version::Http10 => self.keep_alive,
        }
    }
}

impl Codings {
    /// Records the next coding. `chunked` must be the last, appear once (RFC 9112 section 6.1) and
    /// have no parameters (section 7.1).
    fn note(&mut self, coding: &[u8]) -> Result<(), Rejection> {
        let name_end = coding
            .iter()
            .position(|&byte| byte == b';')
            .unwrap_or(coding.len());
        let (name, parameters) = coding.split_at(name_end);
        let name = trim(name);
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if self.chunked {
            return Err(Rejection::bad("chunked is not the last transfer coding"));
        }
        if !is_token(name) {
            return Err(Rejection::bad("the Transfer-Encoding is malformed"));
        }
        if is("chunked") {
            if !parameters.is_empty() {
                return Err(Rejection::bad("chunked must not have parameters"));
            }
            self.chunked = true;
        } else if ["gzip", "x-gzip", "deflate", "compress", "x-compress"]
            .into_iter()
            .any(is)
        {
            self.known = true;
        } else {
            self.unknown = true;
        }
        Ok(())
    }

    /// Returns the framing. Only `chunked` alone is implemented. Another coding is 501 (RFC 9112
    /// section 6.1); but if all codings are known and `chunked` isn't the last, the body has no
    /// end: 400 (section 6.3).
    fn body(self) -> Result<RequestBody, Rejection> {
        if self.unknown || (self.known && self.chunked) {
            return Err(Rejection::new(
                501,
                "the transfer coding is not implemented",
            ));
        }
        if !self.chunked {
            return Err(Rejection::bad("chunked is not the last transfer coding"));
        }
        Ok(RequestBody::Chunked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(version: Version, fields: &[(&str, &str)]) -> Result<RequestBody, u16> {
        let mut framing = Framing::default();
        for (name, value) in fields {
            framing
                .note(name.as_bytes(), value.as_bytes())
                .map_err(|rejection| rejection.status)?;
        }
        framing
            .body(version, &Limits::default())
            .map_err(|rejection| rejection.status)
    }

    #[test]
    fn a_content_length_is_digits_within_the_limit() {
        let table = [
            ("0", Ok(RequestBody::Length(0))),
            ("5", Ok(RequestBody::Length(5))),
            ("005", Ok(RequestBody::Length(5))),
            ("67108864", Ok(RequestBody::Length(64 << 20))),
            ("67108865", Err(413)),
            ("9223372036854775807", Err(413)),
            ("9223372036854775808", Err(400)),
            ("18446744073709551616", Err(400)),
            ("", Err(400)),
            ("+5", Err(400)),
            ("-5", Err(400)),
            ("5, 5", Err(400)),
            ("5 5", Err(400)),
            ("0x5", Err(400)),
            ("1_0", Err(400)),
            ("5.0", Err(400)),
            ("five", Err(400)),
        ];
        for (value, expected) in table {
            let fields = [("content-length", value)];
            assert_eq!(body_of(Version::Http11, &fields), expected, "{value}");
        }
        let twice = [("Content-Length", "5"), ("Content-Length", "5")];
        assert_eq!(body_of(Version::Http11, &twice), Err(400));
        assert_eq!(body_of(Version::Http11, &[]), Ok(RequestBody::None));
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        let table: [(&[&str], Result<RequestBody, u16>); 21] = [
            (&["chunked"], Ok(RequestBody::Chunked)),
            (&["Chunked"], Ok(RequestBody::Chunked)),
            (&["chunked", "chunked"], Err(400)),
            (&["chunked, chunked"], Err(400)),
            (&["chunked, gzip"], Err(400)),
            (&["chunked", "identity"], Err(400)),
            (&["gzip, chunked"], Err(501)),
            (&["gzip", "chunked"], Err(501)),
            (&["gzip"], Err(400)),
            (&["identity"], Err(501)),
            (&["identity, chunked"], Err(501)),
            (&["xchunked"], Err(501)),
            (&["chunkedchunked"], Err(501)),
            (&["chunked;a=b"], Err(400)),
            (&["foo;a=b, chunked"], Err(501)),
            (&[""], Err(400)),
            (&[","], Err(400)),
            (&["chunked,"], Err(400)),
            (&[",chunked"], Err(400)),
            (&["\"chunked\""], Err(400)),
            (&["chun ked"], Err(400)),
        ];
        for (values, expected) in table {
            let fields: Vec<_> = values
                .iter()
                .map(|value| ("TRANSFER-encoding", *value))
                .collect();
            assert_eq!(body_of(Version::Http11, &fields), expected, "{values:?}");
        }
        let chunked = [("Transfer-Encoding", "chunked")];
        assert_eq!(body_of(Version::Http10, &chunked), Err(400));
        let both = [("Transfer-Encoding", "chunked"), ("Content-Length", "5")];
        assert_eq!(body_of(Version::Http11, &both), Err(400));
    }

    #[test]
    fn the_version_and_the_connection_field_decide_persistence() {
        let table: [(Version, &[&str], bool); 8] = [
            (Version::Http11, &[], true),
            (Version::Http11, &["close"], false),
            (Version::Http11, &["Upgrade, CLOSE"], false),
            (Version::Http11, &["keep-alive", "close"], false),
            (Version::Http11, &["closed"], true),
            (Version::Http10, &[], false),
            (Version::Http10, &["Keep-Alive"], true),
            (Version::Http10, &["keep-alive, close"], false),
        ];
        for (version, values, expected) in table {
            let mut framing = Framing::default();
            for value in values {
                framing.note(b"connection", value.as_bytes()).unwrap();
            }
            assert_eq!(
                framing.keeps_alive(version),
                expected,
                "{version:?} {values:?}"
            );
        }
    }

    #[test]
    fn an_expectation_other_than_100_continue_is_417() {
        let table = [
            ("100-continue", Ok(true)),
            ("100-Continue", Ok(true)),
            ("", Ok(false)),
            ("100-continue, brilliance", Err(417)),
            ("200-ok", Err(417)),
        ];
        for (value, expected) in table {
            let mut framing = Framing::default();
            framing.note(b"Expect", value.as_bytes()).unwrap();
            let answer = framing.expects_continue(Version::Http11);
            assert_eq!(
                answer.map_err(|rejection| rejection.status),
                expected,
                "{value}"
            );
            let old = framing.expects_continue(Version::Http10);
            assert_eq!(
                old.map_err(|rejection| rejection.status),
                expected.map(|_| false),
                "{value}"
            );
        }
    }
}
