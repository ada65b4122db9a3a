//! A page's response: a status, fields, and a body in memory or in a file.

use std::borrow::Cow;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::error_page::error_page;
use super::open_file::OpenFile;

/// One field of a response's head. Its value has no control characters.
pub type Field = (Cow<'static, str>, Cow<'static, [u8]>);

/// A response without the fields that the HTTP layer adds: `Date`, `Server`, `Content-Length`,
/// `Connection`.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The fields, in the order in which they are sent.
    pub fields: Vec<Field>,
    /// The body. Not sent in response to HEAD, but its length is declared.
    pub body: Content,
}

/// A response's body.
#[derive(Debug)]
pub enum Content {
    /// No bytes.
    Empty,
    /// The whole body, possibly shared with a cache.
    Bytes(Bytes),
    /// A file or a part of it.
    File(FilePart),
    /// Several pieces, sent one after the other.
    Pieces(Vec<Piece>),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A part of a file.
    File(FilePart),
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file.
    pub file: Arc<OpenFile>,
    /// The position of the first byte to send.
    pub start: u64,
    /// The number of bytes to send. It was correct when the response was created, but the file may
    /// since have become shorter or been overwritten. The connection must then be cut.
    pub length: u64,
}

impl FilePart {
    /// Reads the first bytes, at most `max`. Returns fewer if the file became shorter, which cuts
    /// the response later.
    pub(crate) fn front(&self, max: usize) -> Vec<u8> {
        let length = usize::try_from(self.length).unwrap_or(max).min(max);
        let mut bytes = vec![0; length];
        let count = self.file.file().read_at(&mut bytes, self.start);
        bytes.truncate(count.unwrap_or(0));
        bytes
    }
}

impl Content {
    /// Returns the length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Content::Empty => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(part) => part.length,
            Content::Pieces(pieces) => pieces.iter().map(Piece::length).sum(),
        }
    }
}

impl Piece {
    fn length(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::File(part) => part.length,
        }
    }
}

/// The methods that every page allows, as the value of an `Allow` field (RFC 9110 section 10.2.1).
pub(super) const METHODS: &str = "GET, HEAD, OPTIONS";

impl Answer {
    /// Creates a response with only a status.
    pub(super) fn empty(status: u16) -> Answer {
        Answer {
            status,
            fields: Vec::new(),
            body: Content::Empty,
        }
    }

    /// Creates the built-in page for a status, with additional text in `detail`.
    pub(super) fn built_in(status: u16, reason: &str, detail: &str) -> Answer {
        let page = error_page(status, reason, detail);
        Answer {
            body: Content::Bytes(page.into()),
            ..Answer::empty(status)
        }
        .with("Content-Type", b"text/html; charset=utf-8")
    }

    /// Appends a field.
    pub(super) fn with(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, [u8]>>,
    ) -> Answer {
        self.fields.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// Adds a request field that selected this response to `Vary`.
    pub(super) fn varying_by(mut self, name: &'static str) -> Answer {
        let vary = self.fields.iter_mut().find(|(known, _)| known == "Vary");
        match vary {
            Some((_, names)) => {
                let names = names.to_mut();
                names.extend_from_slice(b", ");
                names.extend_from_slice(name.as_bytes());
                self
            }
            None => self.with("Vary", name.as_bytes()),
        }
    }
}
