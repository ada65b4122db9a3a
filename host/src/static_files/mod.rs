//! The pages: files below one folder, as answers to GET and HEAD.
//!
//! A request for a page goes through these steps, and the first that has an answer ends it:
//!
//! 1. `security`: is each name on the path one that may be seen? If not, there is no such page.
//! 2. `root`: the kernel opens the file, if it is inside the folder.
//! 3. `resolve`: a regular file is a page; a folder is its `index.html`, and redirects to its path
//!    with a `/` behind; nothing else is a page.
//! 4. Methods other than GET and HEAD: OPTIONS says which there are, the others are refused.
//! 5. `conditional`: has the client got it already? Does it want a part only?
//! 6. A short page is read at once, a long one handed over as an open file.
//!
//! A page of the usual size costs four calls to the kernel: `openat2`, `fstat`, `read`, `close`.
//! They can wait for a disk, as everywhere; they never wait for a peer.
//!
//! It is not here that bytes meet a socket, that a handler goes before a page, or that a change of
//! a file is noticed: each request opens its file anew, so there is nothing to refresh but the
//! folder itself ([`Pages::reopen`]).

mod answer;
mod conditional;
mod content_type;
mod error_page;
mod range;
mod resolve;
mod root;
mod security;
#[cfg(test)]
mod tests;
mod validators;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tracing::{error, warn};

use self::answer::METHODS;
use self::conditional::{Conditions, Verdict};
use self::range::Part;
use self::resolve::{Found, Page, Trouble};
use self::root::Root;
use self::validators::Validators;
use crate::http1::RequestHead;
use crate::router::RequestPath;

pub use self::answer::{Answer, Content, Field};
pub use self::error_page::error_page;

/// The longest body that is read into memory at once, in bytes. About what a fresh TCP connection's
/// send buffer takes in one write; with more, a slow client would keep the copy waiting in memory.
const INLINE_MAX_BYTES: u64 = 64 * 1024;

/// How often a page is opened anew because it became shorter while it was read. Whoever writes a
/// file that often does it all the time.
const READ_ATTEMPTS: usize = 3;

/// When to try again after a shortage, in seconds, for `Retry-After`. Descriptors and memory come
/// back as soon as a few requests have ended.
const RETRY_AFTER_S: &str = "1";

/// What is percent-encoded in a segment of a path: all but its `pchar`s (RFC 3986 section 3.3).
const NOT_IN_A_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// A folder of pages. Shared by all reactor threads.
#[derive(Debug)]
pub struct Pages {
    root: Root,
}

impl Pages {
    /// Opens the folder at `root`.
    ///
    /// # Errors
    ///
    /// There is no folder, or it may not be entered.
    pub fn open(root: &Path) -> anyhow::Result<Pages> {
        let opened = Root::open(root);
        let root = opened.with_context(|| format!("can't open the pages in {}", root.display()))?;
        Ok(Pages { root })
    }

    /// To be called when the folder may have been replaced by another of the same name. Cheap when
    /// it has not.
    pub fn reopen(&self) {
        self.root.reopen();
    }

    /// The answer to a request for the page at `path`, or none if there is no such page. Whatever
    /// the method: for a page that is there, one that it doesn't have is answered with 405.
    pub fn answer(&self, head: &RequestHead, path: &RequestPath) -> Option<Answer> {
        self.respond(head.method(), head.query(), &head.fields(), path)
    }

    /// The answer to a request that nothing else answers: status 404.
    pub fn not_found(&self, head: &RequestHead) -> Answer {
        let detail = format!("There is nothing at {}", head.target());
        self.error(404, "Not Found", &detail)
    }

    /// An answer with an error status. The site's own page for it, such as `404.html`, or else the
    /// built-in one, which shows `detail`.
    pub fn error(&self, status: u16, reason: &str, detail: &str) -> Answer {
        let own = resolve::find_named(&self.root, &format!("{status}.html"));
        let own = own.and_then(|page| {
            let part = Part {
                start: 0,
                length: page.length,
            };
            Some((
                page.content_type,
                content(page.file, part, INLINE_MAX_BYTES).ok()?,
            ))
        });
        match own {
            Some((content_type, body)) => Answer {
                body,
                ..Answer::empty(status)
            }
            .with("Content-Type", content_type)
            .with_defaults(),
            None => Answer::built_in(status, reason, detail),
        }
    }

    /// Steps 1 to 6. `fields` is only looked at for a page that is there.
    fn respond<'a>(
        &self,
        method: &str,
        query: &[u8],
        fields: &(impl Iterator<Item = (&'a str, &'a [u8])> + Clone),
        path: &RequestPath,
    ) -> Option<Answer> {
        for _ in 0..READ_ATTEMPTS {
            let found = match resolve::find(&self.root, path) {
                Ok(found) => found?,
                Err(trouble) => return Some(self.trouble(trouble)),
            };
            let page = match (method, found) {
                ("GET" | "HEAD", Found::Page(page)) => page,
                ("GET" | "HEAD", Found::Folder) => return Some(moved_into(path, query)),
                ("OPTIONS", _) => {
                    return Some(Answer::empty(204).with("Allow", METHODS.as_bytes()));
                }
                _ => return Some(self.method_not_allowed()),
            };
            let conditions = Conditions::from_fields(fields.clone());
            match self.deliver(page, &conditions, method == "GET") {
                Ok(answer) => return Some(answer),
                Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(why) => {
                    error!(
                        "page {}: can't be read: {why}",
                        path.decoded().escape_ascii()
                    );
                    return Some(self.trouble(Trouble::Broken));
                }
            }
        }
        warn!(
            "page {}: becomes shorter all the time",
            path.decoded().escape_ascii()
        );
        Some(self.trouble(Trouble::Busy))
    }

    /// Steps 5 and 6: a page that is there, to a GET or a HEAD.
    ///
    /// Fails with `UnexpectedEof` if the file has become shorter since it was opened.
    fn deliver(&self, page: Page, conditions: &Conditions<'_>, is_get: bool) -> io::Result<Answer> {
        let validators = Validators::of(page.revision, page.length, SystemTime::now());
        let whole = Part {
            start: 0,
            length: page.length,
        };
        let (status, part) = match conditions.judge(&validators, page.length, is_get) {
            Verdict::Whole => (200, whole),
            Verdict::Part(part) => (206, part),
            Verdict::NotModified => return Ok(Answer::empty(304).with_validators(validators)),
            Verdict::PreconditionFailed => return Ok(Answer::empty(412)),
            Verdict::Unsatisfiable => {
                let detail = format!("The page has {} bytes.", page.length);
                let answer = self.error(416, "Range Not Satisfiable", &detail);
                let range = format!("bytes */{}", page.length);
                return Ok(answer.with("Content-Range", range.into_bytes()));
            }
        };
        // Only its length is needed for a HEAD, so nothing is read.
        let inline_max_bytes = if is_get { INLINE_MAX_BYTES } else { 0 };
        let body = content(page.file, part, inline_max_bytes)?;
        let answer = Answer {
            body,
            ..Answer::empty(status)
        }
        .with("Content-Type", page.content_type)
        .with_validators(validators)
        .with("Accept-Ranges", b"bytes")
        .with_defaults();
        Ok(match status {
            206 => answer.with(
                "Content-Range",
                part.content_range(page.length).into_bytes(),
            ),
            _ => answer,
        })
    }

    /// The answer for a page that may be there but can't be had.
    fn trouble(&self, trouble: Trouble) -> Answer {
        match trouble {
            Trouble::Forbidden => {
                self.error(403, "Forbidden", "The server may not read this page.")
            }
            // The site's own page would need the descriptor that there is none of.
            Trouble::Busy => Answer::built_in(503, "Service Unavailable", "Try again in a moment.")
                .with("Retry-After", RETRY_AFTER_S.as_bytes()),
            Trouble::Broken => self.error(500, "Internal Server Error", "The page can't be read."),
        }
    }

    fn method_not_allowed(&self) -> Answer {
        let detail = format!("This is a page. It takes {METHODS}.");
        self.error(405, "Method Not Allowed", &detail)
            .with("Allow", METHODS.as_bytes())
    }
}

/// The redirect to a folder's own path. It begins with a single `/`, whatever the request's did: a
/// browser would take what follows `//` for a host.
fn moved_into(path: &RequestPath, query: &[u8]) -> Answer {
    let mut location = String::from("/");
    for segment in path.segments().filter(|segment| !segment.is_empty()) {
        location.extend(percent_encode(segment, NOT_IN_A_SEGMENT));
        location.push('/');
    }
    // As it was sent, if it can be sent back: a field must not be broken by it.
    if let Ok(query) = str::from_utf8(query)
        && !query.is_empty()
        && query.bytes().all(|byte| byte.is_ascii_graphic())
    {
        location.push('?');
        location.push_str(query);
    }
    let detail = format!("This is a folder, and its page is at {location}");
    Answer::built_in(301, "Moved Permanently", &detail).with("Location", location.into_bytes())
}

/// The bytes of a part of a file: read, if there are not more than `inline_max_bytes`, or else the
/// file itself, standing at the part's first byte.
///
/// Fails with `UnexpectedEof` if the file is shorter than that.
fn content(mut file: File, part: Part, inline_max_bytes: u64) -> io::Result<Content> {
    if part.start > 0 {
        file.seek(SeekFrom::Start(part.start))?;
    }
    match usize::try_from(part.length) {
        Ok(0) => Ok(Content::Empty),
        Ok(length) if part.length <= inline_max_bytes => {
            let mut bytes = Vec::with_capacity(length);
            // With `take` and room for all of it, this is a single call to the kernel.
            file.take(part.length).read_to_end(&mut bytes)?;
            if bytes.len() < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(Content::Bytes(bytes))
        }
        _ => Ok(Content::File {
            file,
            length: part.length,
        }),
    }
}
