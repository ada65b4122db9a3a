//! The head of a request, parsed into ranges of its bytes.
//!
//! A [`RequestHead`] exists only for a head that passed every check, so its readers check nothing.
//! The checks are in `scan` (lines), `request_line`, `layout` (fields) and `framing`.

use core::fmt;

use super::body::RequestBody;
use super::error::Rejection;
use super::layout::{FieldSpan, Layout};
use super::limits::Limits;
use super::scan::HeadScanner;
use super::span::Span;
use super::version::Version;

/// A request's head. Owns its bytes, with two allocations in total.
pub struct RequestHead {
    bytes: Vec<u8>,
    layout: Layout,
}

impl RequestHead {
    /// Creates a head from exactly its bytes.
    pub(super) fn new(bytes: Vec<u8>, layout: Layout) -> Self {
        Self { bytes, layout }
    }

    /// Parses the head at the start of `bytes`. Returns it with its length, or `None` if more bytes
    /// are needed.
    ///
    /// Fails with a rejection if the head is invalid or exceeds a limit.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<(Self, usize)>, Rejection> {
        let Some(lines) = HeadScanner::default().scan(bytes, limits)? else {
            return Ok(None);
        };
        let layout = Layout::parse(bytes, &lines, limits)?;
        let own = bytes.get(..lines.end).unwrap_or_default().to_vec();
        Ok(Some((Self::new(own, layout), lines.end)))
    }

    /// Returns the method as sent: methods are case-sensitive (RFC 9110 section 9.1).
    pub fn method(&self) -> &str {
        match self.slice(self.layout.method) {
            // Asked several times per request: nearly all have one of these, which need no check.
            b"GET" => "GET",
            b"HEAD" => "HEAD",
            b"POST" => "POST",
            _ => self.text(self.layout.method),
        }
    }

    /// Returns the request-target as sent.
    pub fn target(&self) -> &str {
        self.text(self.layout.target)
    }

    /// Returns the HTTP version of the request.
    pub fn version(&self) -> Version {
        self.layout.version
    }

    /// Returns the path of the target, percent-encoded as sent, without the query. Begins with `/`,
    /// or is `*` for a request about the whole server (`OPTIONS *`).
    pub fn path(&self) -> &[u8] {
        match self.slice(self.layout.path) {
            // An absolute-form target may have no path: that means the root, or for OPTIONS the
            // whole server (RFC 9112 section 3.2.4).
            b"" if self.method() == "OPTIONS" && self.query() == b"" => b"*",
            b"" => b"/",
            path => path,
        }
    }

    /// Returns the query of the target, percent-encoded as sent, without the `?`. Empty if there is
    /// none.
    pub fn query(&self) -> &[u8] {
        self.slice(self.layout.query)
    }

    /// Returns the authority of the request, `host` or `host:port`: from an absolute-form target,
    /// or else from the Host field (RFC 9112 section 3.2.2). Empty if the request names none.
    pub fn authority(&self) -> &[u8] {
        self.slice(self.layout.authority)
    }

    /// Returns the authority in the target, if it is in absolute form. The Host field must then be
    /// ignored (RFC 9112 section 3.2.2).
    pub fn target_authority(&self) -> Option<&[u8]> {
        let (target, authority) = (self.layout.target, self.layout.authority);
        (target.start..target.end)
            .contains(&authority.start)
            .then(|| self.slice(authority))
    }

    /// Returns the fields in order: names as sent, values without surrounding whitespace.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> + Clone {
        self.layout
            .fields
            .iter()
            .map(|field| (self.text(field.name), self.slice(field.value)))
    }

    /// Returns the value of the first field with this name. Ignores case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.layout
            .fields
            .iter()
            .find(|field| self.slice(field.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.slice(field.value))
    }

    /// Returns the same head without the fields of these names, for a recipient that must not see
    /// them. Ignores case. The framing of the body stays as it was received.
    #[must_use]
    pub fn without_fields(&self, names: &[&str]) -> Self {
        let is_kept = |field: &&FieldSpan| {
            let name = self.text(field.name);
            !names.iter().any(|other| name.eq_ignore_ascii_case(other))
        };
        let mut layout = self.layout.clone();
        layout.fields = self.layout.fields.iter().filter(is_kept).copied().collect();
        Self::new(self.bytes.clone(), layout)
    }

    /// Returns the framing of the request body.
    pub fn body(&self) -> RequestBody {
        self.layout.body
    }

    /// Returns whether the client waits for a `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.layout.expects_continue
    }

    /// Returns whether the request allows the connection to persist.
    pub(super) fn keeps_alive(&self) -> bool {
        self.layout.keeps_alive
    }

    fn slice(&self, span: Span) -> &[u8] {
        span.within(&self.bytes)
    }

    /// Returns the text of a span. Methods, targets and names are known to be ASCII or UTF-8: a
    /// head exists only after that check.
    fn text(&self, span: Span) -> &str {
        core::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("version", &self.version())
            .field("body", &self.body())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_can_be_withheld_and_nothing_else_changes() {
        let text = b"GET /a?b HTTP/1.1\r\nHost: x\r\nrange: bytes=0-\r\nA: 1\r\nRange: c\r\n\r\n";
        let (head, _) = RequestHead::parse(text, &Limits::default())
            .expect("valid")
            .expect("complete");
        let less = head.without_fields(&["Range"]);
        let fields: Vec<_> = less.fields().collect();
        assert_eq!(fields, [("Host", &b"x"[..]), ("A", b"1")]);
        assert_eq!((less.target(), less.authority()), ("/a?b", &b"x"[..]));
        assert_eq!(less.field("range"), None);
    }
}
