//! The head of a request: what it says, and where in its bytes.
//!
//! A [`RequestHead`] exists only for a head that passed every check, so its readers check nothing.
//! The checks are in `parse`.

use core::fmt;

use super::body::RequestBody;

/// The version of HTTP that a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1. A higher minor version is processed as this one (RFC 9110 section 2.5).
    Http11,
}

impl Version {
    /// As in a request line: `HTTP/1.1`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// A range of the head's bytes. A head is far shorter than 4 GiB: its limits see to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// Where a field line has its name and its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldSpan {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// Whether a connection goes on after a request, as far as the request decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    KeepAlive,
    Close,
}

/// A request's head. Owns its bytes: two allocations, whatever it holds.
pub struct RequestHead {
    pub(super) bytes: Vec<u8>,
    pub(super) fields: Box<[FieldSpan]>,
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) path: Span,
    pub(super) query: Span,
    pub(super) authority: Span,
    pub(super) version: Version,
    pub(super) body: RequestBody,
    pub(super) expects_continue: bool,
    pub(super) persistence: Persistence,
}

impl RequestHead {
    /// The method, as sent: methods are case-sensitive (RFC 9110 section 9.1).
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// The request-target, as sent.
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// The version that the request speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The target's path, percent-encoded as sent, without the query. Begins with `/`, or is `*`
    /// for a request about the server as a whole (`OPTIONS *`).
    pub fn path(&self) -> &[u8] {
        match self.slice(self.path) {
            // An absolute-form target may have no path: that is the root, or for OPTIONS the server
            // as a whole (RFC 9112 section 3.2.4).
            b"" if self.method() == "OPTIONS" && self.query() == b"" => b"*",
            b"" => b"/",
            path => path,
        }
    }

    /// The target's query, percent-encoded as sent, without the `?`. Empty when there is none.
    pub fn query(&self) -> &[u8] {
        self.slice(self.query)
    }

    /// The authority that the request is for, `host` or `host:port`: from an absolute-form target,
    /// or else from the Host field (RFC 9112 section 3.2.2). Empty when the request names none.
    pub fn authority(&self) -> &[u8] {
        self.slice(self.authority)
    }

    /// The fields in their order: names as sent, values without the whitespace around them.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> + Clone {
        self.fields
            .iter()
            .map(|field| (self.text(field.name), self.slice(field.value)))
    }

    /// The value of the first field of this name, in any case.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields
            .iter()
            .find(|field| self.slice(field.name).eq_ignore_ascii_case(name.as_bytes()))
            .map(|field| self.slice(field.value))
    }

    /// How the request's body is framed.
    pub fn body(&self) -> RequestBody {
        self.body
    }

    /// Whether the client waits for a `100 Continue` before it sends the body.
    pub fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    fn slice(&self, span: Span) -> &[u8] {
        let range = span.start as usize..span.end as usize;
        self.bytes.get(range).unwrap_or_default()
    }

    /// Methods, targets and names are checked to be ASCII or UTF-8 before a head exists.
    fn text(&self, span: Span) -> &str {
        core::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("version", &self.version)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}
