//! What the pages answer with: a status, fields, and a body that is in memory or in a file.

use std::borrow::Cow;
use std::fs::File;

use super::error_page::error_page;
use super::validators::Validators;

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

/// What every page allows, as the value of an `Allow` field (RFC 9110 section 10.2.1).
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";

impl Answer {
    /// Nothing but a status.
    pub(super) fn empty(status: u16) -> Answer {
        Answer {
            status,
            fields: Vec::new(),
            body: Content::Empty,
        }
    }

    /// The built-in page of a status, with what else there is to say in `detail`.
    pub(super) fn built_in(status: u16, reason: &str, detail: &str) -> Answer {
        let page = error_page(status, reason, detail);
        Answer {
            body: Content::Bytes(page),
            ..Answer::empty(status)
        }
        .with("Content-Type", b"text/html; charset=utf-8")
        .with_defaults()
    }

    /// With one field more, at the end.
    pub(super) fn with(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, [u8]>>,
    ) -> Answer {
        self.fields.push((name, value.into()));
        self
    }

    /// With the validators of a page, and how they are to be used: a copy may be kept, but the
    /// server is asked each time whether it is still good. So an edit is seen at once, and a page
    /// that has not changed costs a 304.
    pub(super) fn with_validators(self, validators: Validators) -> Answer {
        let answer = match validators.last_modified() {
            Some(date) => self.with("Last-Modified", date.into_bytes()),
            None => self,
        };
        answer
            .with("ETag", validators.etag)
            .with("Cache-Control", b"no-cache")
    }

    /// With the fields that go with every body: no browser shall guess another type than it says.
    pub(super) fn with_defaults(self) -> Answer {
        self.with("X-Content-Type-Options", b"nosniff")
    }
}
