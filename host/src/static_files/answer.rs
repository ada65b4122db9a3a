//! What the pages answer with: a status, fields, and a body that is in memory or in a file.

use std::borrow::Cow;
use std::fs::File;

use super::error_page;

/// One field of a response's head. Its value has no control characters.
pub type Field = (&'static str, Cow<'static, [u8]>);

/// A response, but for what the HTTP layer adds: `Date`, `Server`, `Content-Length`, `Connection`.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// In the order in which they are to be sent.
    pub fields: Vec<Field>,
    /// To be left out of the answer to a HEAD request, with its length announced all the same.
    pub body: Content,
}

/// A response's body.
#[derive(Debug)]
pub enum Content {
    /// No bytes.
    Empty,
    /// All of it.
    Bytes(Vec<u8>),
    /// A part of a file, or all of it.
    File {
        /// A regular file, open for reading, at the first byte to send.
        file: File,
        /// How many bytes to send, from there. A promise that was true when it was made: the file
        /// may have become shorter since. Then the connection has to be cut.
        length: u64,
    },
}

/// What every page allows, as the value of an `Allow` field (RFC 9110 §10.2.1).
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";

/// When to try again after a shortage, in seconds, for `Retry-After`. Descriptors and memory come
/// back as soon as a few requests have ended.
const RETRY_AFTER_S: &str = "1";

impl Answer {
    /// Nothing but a status.
    pub(super) fn empty(status: u16) -> Answer {
        Answer { status, fields: Vec::new(), body: Content::Empty }
    }

    /// The built-in page of a status, with what else there is to say in `detail`.
    pub(super) fn built_in(status: u16, reason: &str, detail: &str) -> Answer {
        let page = error_page::error_page(status, reason, detail);
        let html = Cow::Borrowed(&b"text/html; charset=utf-8"[..]);
        let answer = Answer { body: Content::Bytes(page), ..Answer::empty(status) };
        answer.with("Content-Type", html).with_defaults(status)
    }

    /// With one field more, at the end.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Cow<'static, [u8]>>) -> Answer {
        self.fields.push((name, value.into()));
        self
    }

    /// With the fields that go with a body, whatever it is.
    pub(super) fn with_defaults(self, status: u16) -> Answer {
        let answer = self.with("X-Content-Type-Options", &b"nosniff"[..]);
        if status == 503 { answer.with("Retry-After", RETRY_AFTER_S.as_bytes()) } else { answer }
    }
}
