//! The checks on a complete head, and the positions of its parts.

use httparse::{EMPTY_HEADER, Error, Header, Status, parse_headers};

use super::body::RequestBody;
use super::error::Rejection;
use super::framing::Framing;
use super::limits::Limits;
use super::request_line::Target;
use super::scan::Lines;
use super::span::Span;
use super::version::Version;

/// The maximum number of fields that are parsed on the stack. Browsers send about twenty.
const STACK_FIELDS_COUNT: usize = 32;

/// The positions of the name and the value of a field line.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldSpan {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// A parsed head, as spans of its bytes.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) fields: Box<[FieldSpan]>,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) path: Span,
    pub(super) query: Span,
    pub(super) authority: Span,
    pub(super) version: Version,
    pub(super) body: RequestBody,
    pub(super) expects_continue: bool,
    pub(super) keeps_alive: bool,
}

impl Layout {
    /// Checks the head at the start of `bytes`, whose lines are in `lines`.
    pub(super) fn parse(bytes: &[u8], lines: &Lines, limits: &Limits) -> Result<Self, Rejection> {
        let fields = bytes.get(lines.fields_start..lines.end).unwrap_or_default();
        if lines.fields_count <= STACK_FIELDS_COUNT {
            Self::with_headers(
                bytes,
                fields,
                lines,
                limits,
                &mut [EMPTY_HEADER; STACK_FIELDS_COUNT],
            )
        } else {
            Self::with_headers(
                bytes,
                fields,
                lines,
                limits,
                &mut vec![EMPTY_HEADER; lines.fields_count],
            )
        }
    }

    fn with_headers<'b>(
        bytes: &'b [u8],
        fields: &'b [u8],
        lines: &Lines,
        limits: &Limits,
        headers: &mut [Header<'b>],
    ) -> Result<Self, Rejection> {
        let headers = tokenize(fields, headers)?;
        let mut framing = Framing::default();
        for header in headers {
            framing.note(header.name.as_bytes(), header.value)?;
        }
        let line = lines.request_line;
        let target = Target::parse(bytes, &line)?;
        let host = framing.host(line.version, target.authority.is_some())?;
        let authority = target
            .authority
            .or(host.map(|value| Span::locate(value, bytes)));
        Ok(Self {
            body: framing.body(line.version, limits)?,
            expects_continue: framing.expects_continue(line.version)?,
            keeps_alive: framing.keeps_alive(line.version),
            fields: headers
                .iter()
                .map(|header| FieldSpan {
                    name: Span::locate(header.name.as_bytes(), bytes),
                    value: Span::locate(header.value, bytes),
                })
                .collect(),
            method: line.method,
            target: line.target,
            path: target.path,
            query: target.query,
            authority: authority.unwrap_or_default(),
            version: line.version,
        })
    }
}

/// Parses the field lines.
///
/// ```text
/// field-line    = field-name ":" OWS field-value OWS                  RFC 9112 section 5
/// field-name    = token                                               RFC 9110 section 5.1
/// field-value   = *( VCHAR / obs-text / SP / HTAB ), no whitespace around it   section 5.5
/// ```
///
/// httparse follows this grammar, but accepts a bare LF as a line ending; the scanner has already
/// rejected those. Whitespace before the colon, which RFC 9112 section 5.1 answers with 400, is not
/// a token character.
fn tokenize<'b, 'h>(
    fields: &'b [u8],
    headers: &'h mut [Header<'b>],
) -> Result<&'h [Header<'b>], Rejection> {
    match parse_headers(fields, headers) {
        Ok(Status::Complete((end, headers))) if end == fields.len() => Ok(headers),
        Err(Error::HeaderName) => Err(Rejection::bad(
            "a field line does not begin with a token and a colon",
        )),
        Err(Error::HeaderValue) => Err(Rejection::bad(
            "a field's value contains a forbidden character",
        )),
        // The scanner has already found the end and counted the lines.
        Ok(_) | Err(_) => Err(Rejection::bad("the fields are malformed")),
    }
}
