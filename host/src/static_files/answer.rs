//! What the pages answer with: a status, fields, and a body that is in memory or in a file.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::error_page::error_page;
use super::open_file::OpenFile;

/// One field of a response's head. Its value has no control characters.
pub type Field = (Cow<'static, str>, Cow<'static, [u8]>);

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
    /// All of it. Shared with a cache, possibly.
    Bytes(Bytes),
    /// A part of a file, or all of it.
    File(FilePart),
    /// One piece after the other.
    Pieces(Vec<Piece>),
}

/// A piece of a body.
#[derive(Debug)]
pub enum Piece {
    /// Bytes.
    Bytes(Bytes),
    /// A part of a file.
    File(FilePart),
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file.
    pub file: Arc<OpenFile>,
    /// Position of the first byte to send.
    pub start: u64,
    /// How many bytes to send, from there. A promise that was true when it was made: the file may
    /// have become shorter since, or have been written over. Then the connection has to be cut.
    pub length: u64,
}

impl Content {
    /// How many bytes it has.
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
            body: Content::Bytes(page.into()),
            ..Answer::empty(status)
        }
        .with("Content-Type", b"text/html; charset=utf-8")
    }

    /// With one field more, at the end.
    pub(super) fn with(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, [u8]>>,
    ) -> Answer {
        self.fields.push((Cow::Borrowed(name), value.into()));
        self
    }

    /// With one field more that the choice of this answer depended on, in `Vary`.
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
