//! HTML documents in a browser: which requests want one, and what changes in their responses. The
//! script of `wasgi dev` is put in, so they are sent whole, uncompressed and without validators.

use std::borrow::Cow;
use std::sync::Arc;

use super::Dev;
use super::csp::{self, Needs};
use super::place::Insertion;
use crate::gateway::Head;
use crate::http1::{RequestHead, is_bodiless};
use crate::static_files::{Answer, Content, FilePart, Piece};

/// The number of bytes at the start of a page that are searched for its head.
const FRONT_BYTES: usize = 16 * 1024;

/// The fields of a request for a document that would lead to a response without the whole,
/// uncompressed document. Neither pages nor handlers receive them.
const WITHHELD: [&str; 6] = [
    "Accept-Encoding",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "Range",
];

/// The fields of a response that describe the bytes without the script.
const OF_PLAIN_BYTES: [&str; 8] = [
    "Accept-Ranges",
    "Cache-Control",
    "Content-Digest",
    "Content-MD5",
    "Digest",
    "ETag",
    "Last-Modified",
    "Repr-Digest",
];

/// Returns whether a browser requests a document to show, in a window or a frame. A fragment that a
/// script fetches is not one.
pub(crate) fn is_wanted(head: &RequestHead) -> bool {
    match head.field("Sec-Fetch-Dest") {
        Some(destination) => matches!(destination, b"document" | b"iframe" | b"frame"),
        // Browsers before 2023 don't say.
        None => head
            .field("Accept")
            .is_some_and(|accept| memchr::memmem::find(accept, b"text/html").is_some()),
    }
}

/// Returns the request without the fields that ask for less than the whole document.
pub(crate) fn request(head: &RequestHead) -> Arc<RequestHead> {
    Arc::new(head.without_fields(&WITHHELD))
}

/// The page of one request, into which the script is put.
#[derive(Debug)]
pub(crate) struct Document {
    insertion: Insertion,
    /// A reload of the page changes nothing on the server.
    is_read: bool,
    /// The position in the record of events before the request.
    since: String,
    origin: String,
    path: String,
    nonce: String,
}

impl Document {
    /// Prepares the response to a request at `origin`, which is the scheme and the authority.
    pub(crate) fn new(dev: &Dev, head: &RequestHead, scheme: &str) -> Self {
        let authority = String::from_utf8_lossy(head.authority());
        Self {
            insertion: Insertion::new(Vec::new()),
            is_read: matches!(head.method(), "GET" | "HEAD"),
            since: dev.events().now(),
            origin: format!("{scheme}://{authority}"),
            path: String::from_utf8_lossy(head.path()).into_owned(),
            nonce: dev.nonce().to_owned(),
        }
    }

    /// Begins the insertion into a response with this status. The mark and the nonce are letters,
    /// digits and `-`.
    fn insert(&mut self, status: u16) {
        let mode = match (self.is_read, status) {
            (true, ..400) => "",
            (true, _) => " data-mode=\"error\"",
            (false, _) => " data-mode=\"result\"",
        };
        let (since, nonce) = (&self.since, &self.nonce);
        let tag = format!(
            "<script async src=\"/_wasgi/dev.js\" data-since=\"{since}\"{mode} \
             nonce=\"{nonce}\"></script>"
        );
        self.insertion = Insertion::new(tag.into_bytes());
    }

    /// Puts the script into a page. Other responses stay as they are.
    pub(crate) fn change(mut self, mut answer: Answer) -> Answer {
        let fields = answer.fields.iter();
        let is_html = is_html(fields.map(|(name, value)| (&**name, &**value)));
        if !is_html || is_bodiless(answer.status) || answer.status == 206 {
            return answer;
        }
        self.insert(answer.status);
        answer.fields.retain(|(name, _)| !is_of_plain_bytes(name));
        for (name, value) in &mut answer.fields {
            if csp::is_policy(name) {
                *value = Cow::Owned(csp::extend(value, self.needs()));
            }
        }
        let no_cache = ("Cache-Control".into(), Cow::Borrowed(&b"no-cache"[..]));
        answer.fields.push(no_cache);
        answer.body = self.body(answer.body);
        answer
    }

    fn body(&mut self, body: Content) -> Content {
        let pieces = match body {
            Content::Bytes(bytes) => {
                let mut whole = self.insertion.push(bytes.to_vec());
                whole.extend(self.insertion.end());
                return Content::Bytes(whole.into());
            }
            Content::Empty => Vec::new(),
            Content::File(part) => vec![Piece::File(part)],
            Content::Pieces(pieces) => pieces,
        };
        let mut changed = Vec::with_capacity(pieces.len() + 2);
        let mut pieces = pieces.into_iter();
        match pieces.next() {
            Some(Piece::File(part)) => {
                let front = part.front(FRONT_BYTES);
                let at = Insertion::position(&front);
                match at {
                    Some(at) => {
                        let mut bytes = front.get(..at).unwrap_or_default().to_vec();
                        bytes.extend(self.insertion.end());
                        changed.push(Piece::Bytes(bytes.into()));
                        changed.push(Piece::File(FilePart {
                            file: part.file,
                            start: part.start + at as u64,
                            length: part.length - at as u64,
                        }));
                    }
                    None => changed.push(Piece::File(part)),
                }
            }
            Some(Piece::Bytes(bytes)) => {
                changed.push(Piece::Bytes(self.insertion.push(bytes.to_vec()).into()));
            }
            None => {}
        }
        changed.extend(pieces);
        changed.push(Piece::Bytes(self.insertion.end().into()));
        Content::Pieces(changed)
    }

    /// Looks at the head of a handler's response, and changes it if the script can be put into its
    /// body. Returns whether it can.
    pub(crate) fn begin(&mut self, head: &mut Head) -> bool {
        let fields = head.fields.iter();
        let is_html = is_html(fields.map(|(name, value)| (name.as_str(), value.as_slice())));
        let is_coded = head
            .fields
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("Content-Encoding"));
        if !is_html || is_coded || is_bodiless(head.status) || head.status == 206 {
            return false;
        }
        self.insert(head.status);
        head.fields.retain(|(name, _)| !is_of_plain_bytes(name));
        for (name, value) in &mut head.fields {
            if csp::is_policy(name) {
                *value = csp::extend(value, self.needs());
            }
        }
        head.fields
            .push(("Cache-Control".to_owned(), b"no-cache".to_vec()));
        let longer = self.insertion.length();
        head.length = head.length.map(|length| length.saturating_add(longer));
        true
    }

    /// Takes a block of the response, and returns what can be sent.
    pub(crate) fn block(&mut self, block: Vec<u8>) -> Vec<u8> {
        self.insertion.push(block)
    }

    /// Returns what is left at the end of the response.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        self.insertion.end()
    }

    fn needs(&self) -> Needs<'_> {
        Needs {
            origin: &self.origin,
            path: &self.path,
            nonce: &self.nonce,
        }
    }
}

fn is_of_plain_bytes(name: &str) -> bool {
    OF_PLAIN_BYTES
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field))
}

/// Returns whether the body is HTML in an encoding that contains ASCII.
fn is_html<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> bool {
    let mut types = fields.filter(|(name, _)| name.eq_ignore_ascii_case("Content-Type"));
    let Some((_, value)) = types.next() else {
        return false;
    };
    let value = value.to_ascii_lowercase();
    let mut parts = value.split(|byte| *byte == b';');
    parts
        .next()
        .is_some_and(|name| name.trim_ascii() == b"text/html")
        && memchr::memmem::find(&value, b"utf-16").is_none()
}
