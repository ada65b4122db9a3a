//! Serves pages: the files below one folder, in response to GET and HEAD.
//!
//! A request for a page goes through these steps, until one of them produces a response:
//!
//! 1. `security` checks that each name on the path may be served. If not, there is no such page.
//! 2. `resolve` finds the file: in the `cache`, if it is short, was requested before, and has not
//!    changed since according to the kernel; otherwise the kernel opens it, through `root`, if it
//!    is inside the folder. A regular file is a page. A folder is its `index.html`, and redirects
//!    to its path with a trailing `/`. Options serve `about.html` at `/about`, and a `listing` for
//!    a folder without an index. Nothing else is a page.
//! 3. Methods other than GET and HEAD: OPTIONS returns the allowed methods, and the others are
//!    rejected.
//! 4. `represent` selects the encoding among those that the client accepts (`content`): a
//!    precompressed file next to the page, or compression now.
//! 5. `conditional` checks whether the client already has the page, and whether it requests only
//!    parts (`range`, `multipart`).
//! 6. A short page is read at once and cached, a long one is passed on as an open file.
//! 7. `rules` adds the fields for all responses and for this page.
//!
//! A cached page costs one system call, `fstatat`; any other of the usual size costs four:
//! `openat2`, `fstat`, `pread` and `close`. Step 4 adds one for each coding that the client prefers
//! and that has no file. These calls can block on a disk, as in any server; they never block on a
//! peer.
//!
//! Writing bytes to a socket and precedence between handlers and pages are handled elsewhere. File
//! changes need no notification: each request checks its file, so only the folder itself has to be
//! refreshed ([`Pages::reopen`]). `docs/static-files.md` describes this behaviour for site owners.

mod answer;
mod cache;
mod conditional;
mod content_type;
mod error_page;
#[doc(hidden)]
pub mod fuzzing;
mod listing;
mod location;
mod methods;
mod multipart;
mod open_file;
mod options;
mod page;
mod pattern;
mod represent;
mod resolve;
mod root;
mod rules;
mod security;
mod settings;
#[cfg(test)]
mod tests;
mod validators;

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use anyhow::Context;
use tracing::{error, warn};
use wasgi_fields::range::Part;

use self::answer::METHODS;
use self::conditional::{Conditions, Verdict};
use self::listing::Listing;
use self::page::{INLINE_MAX_BYTES, Page};
use self::represent::{Chooser, Representation};
use self::resolve::{Finder, Folder, Found, PageError};
use self::root::Root;
use self::rules::PageRules;
use self::settings::Settings;
use crate::content::{self, Encodings};
use crate::http1::RequestHead;
use crate::router::RequestPath;

pub use self::answer::{Answer, Content, Field, FilePart, Piece};
pub use self::error_page::error_page;
pub(crate) use self::error_page::escape;
pub use self::open_file::OpenFile;
pub use self::options::{PageOptions, Rule, Security};
pub(crate) use self::security::is_hidden;
pub use self::settings::{Unusable, check};

/// How often a page is reopened because it became shorter while it was read. A file that changes
/// more often is written to constantly.
const READ_ATTEMPTS: usize = 3;

/// The value of `Retry-After` for a shortage, in seconds. Descriptors and memory are available
/// again as soon as a few requests have ended.
const RETRY_AFTER_S: &str = "1";

/// A folder of pages, shared by all reactor threads.
#[derive(Debug)]
pub struct Pages {
    /// The lock is only held to clone or replace the `Arc`.
    served: RwLock<Arc<Served>>,
}

/// What is served: replaced as a whole.
#[derive(Debug)]
struct Served {
    root: Arc<Root>,
    settings: Settings,
}

/// The parts of a request that matter for pages.
#[derive(Clone, Copy, Debug)]
struct Request<'a, F> {
    method: &'a str,
    query: &'a [u8],
    fields: F,
}

impl Pages {
    /// Opens the folder at `root`.
    ///
    /// # Errors
    ///
    /// Fails if `root` is not a folder or not accessible, or if an option is invalid.
    pub fn open(root: &Path, options: PageOptions) -> anyhow::Result<Pages> {
        let settings = Settings::new(options)?;
        let opened = Root::open(root);
        let root = opened.with_context(|| format!("can't open the pages in {}", root.display()))?;
        let root = Arc::new(root);
        Ok(Pages {
            served: RwLock::new(Arc::new(Served { root, settings })),
        })
    }

    /// Applies new options. Requests in progress finish with the old ones.
    ///
    /// # Errors
    ///
    /// Fails if an option is invalid. The old options then remain.
    pub fn set_options(&self, options: PageOptions) -> anyhow::Result<()> {
        let settings = Settings::new(options)?;
        let root = Arc::clone(&self.view().served.root);
        self.replace(Arc::new(Served { root, settings }));
        Ok(())
    }

    /// Serves those of `other` from now on. Requests in progress finish with the old ones.
    pub(crate) fn replace_by(&self, other: &Pages) {
        self.replace(other.view().served);
    }

    fn replace(&self, new: Arc<Served>) {
        let mut served = self.served.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *served, new);
        // The old settings have large caches, so free them after releasing the lock.
        drop(served);
        drop(old);
    }

    /// Reopens the folder if it was replaced by another of the same name. Cheap if it was not.
    pub fn reopen(&self) {
        self.view().served.root.reopen();
    }

    /// Returns the response for the page at `path`, or none if there is no such page. This applies
    /// to all methods: for a page that exists, a method that it does not support gets status 405,
    /// and an unknown method 501.
    pub fn answer(&self, head: &RequestHead, path: &RequestPath) -> Option<Answer> {
        self.view().respond(&Request::from_head(head), path)
    }

    /// Returns the response to a request that nothing else serves: status 404, or the fallback
    /// page.
    pub fn not_found(&self, head: &RequestHead) -> Answer {
        let view = self.view();
        if let Some(page) = view.fall_back(&Request::from_head(head), head.path()) {
            return page;
        }
        let detail = format!("There is nothing at {}", head.target());
        view.error(404, "Not Found", &detail)
    }

    /// Returns a response with an error status: the site's own page for it, `404.html` or
    /// `40x.html`, or else the built-in one, which shows `detail`.
    pub fn error(&self, status: u16, reason: &str, detail: &str) -> Answer {
        self.view().error(status, reason, detail)
    }

    fn view(&self) -> View {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        View {
            served: Arc::clone(&served),
        }
    }
}

impl<'a> Request<'a, ()> {
    fn from_head(
        head: &'a RequestHead,
    ) -> Request<'a, impl Iterator<Item = (&'a str, &'a [u8])> + Clone + 'a> {
        Request {
            method: head.method(),
            query: head.query(),
            fields: head.fields(),
        }
    }
}

/// A request's view of the pages: the folder and the settings at its start.
struct View {
    served: Arc<Served>,
}

impl View {
    /// Performs steps 1 to 7.
    fn respond<'a, F>(&self, request: &Request<'a, F>, path: &RequestPath) -> Option<Answer>
    where
        F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let shown = || path.decoded().escape_ascii();
        for _ in 0..READ_ATTEMPTS {
            let found = match self.finder().find(path) {
                Ok(found) => found?,
                Err(error) => return Some(self.page_error(error)),
            };
            let answer = match (request.method, found) {
                ("GET" | "HEAD", Found::Page(page)) => self.deliver(page, request),
                ("GET" | "HEAD", Found::Folder) => Ok(self.moved_into(path, request.query)),
                ("GET" | "HEAD", Found::Listing(folder)) => self.list(&folder, path, request),
                ("OPTIONS", _) => {
                    let answer = Answer::empty(204).with("Allow", METHODS.as_bytes());
                    Ok(self.served.settings.rules.finish(answer))
                }
                (method, _) if methods::is_known(method) => Ok(self.method_not_allowed()),
                _ => Ok(self.not_implemented()),
            };
            match answer {
                Ok(answer) => return Some(answer),
                Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(why) => {
                    error!("page {}: can't be read: {why}", shown());
                    return Some(self.page_error(PageError::Broken));
                }
            }
        }
        warn!(
            "page {}: changes constantly: no consistent version could be read",
            shown()
        );
        Some(self.page_error(PageError::Busy))
    }

    /// Performs steps 4 to 7 for an existing page and a GET or HEAD.
    ///
    /// Fails with `UnexpectedEof` if the file has become shorter or was written to since it was
    /// opened.
    fn deliver<'a, F>(&self, page: Page, request: &Request<'a, F>) -> io::Result<Answer>
    where
        F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let is_get = request.method == "GET";
        let name = Arc::clone(&page.name);
        let rules = self.served.settings.rules.of_page(&name);
        let conditions = Conditions::from_fields(request.fields.clone());
        let chooser = self.chooser();
        let encodings = || Encodings::from_fields(request.fields.clone());
        let wants_part = is_get && conditions.has_range();
        let form = chooser.choose(page, &rules, encodings, wants_part)?;

        let whole = form.length;
        let verdict = conditions.judge(&form.validators, whole, is_get && form.has_ranges);
        let answer = match verdict {
            Verdict::NotModified => Answer::empty(304),
            Verdict::PreconditionFailed => {
                return Ok(self.served.settings.rules.finish(Answer::empty(412)));
            }
            Verdict::Unsatisfiable => return Ok(self.unsatisfiable(&form)),
            Verdict::Whole => {
                let short = if is_get {
                    chooser.read_short(&form.page)?
                } else {
                    // HEAD needs only the length, so nothing is read.
                    None
                };
                let body = match short {
                    Some(bytes) => Piece::Bytes(bytes),
                    None => form.page.source.piece(all(whole), 0)?,
                };
                Answer {
                    body: body.into(),
                    ..Answer::empty(200)
                }
                .with("Content-Type", form.content_type.clone())
            }
            Verdict::Part(part) => Answer {
                body: form.page.source.piece(part, INLINE_MAX_BYTES)?.into(),
                ..Answer::empty(206)
            }
            .with("Content-Type", form.content_type.clone())
            .with("Content-Range", part.content_range(whole).into_bytes()),
            Verdict::Parts(parts) => several(&form, &parts)?,
        };
        Ok(finish(answer, form, &rules))
    }

    /// Returns the fallback page for a missing page, if a browser requests a document.
    fn fall_back<'a, F>(&self, request: &Request<'a, F>, raw_path: &[u8]) -> Option<Answer>
    where
        F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        let name = self.served.settings.fallback.as_deref()?;
        let path = RequestPath::parse(raw_path).ok()?;
        // A hidden name is not served, not even by the fallback page.
        security::file_name(&path)?;
        let wants_document = matches!(request.method, "GET" | "HEAD")
            && content::accept::names_type(request.fields.clone(), "text/html");
        if !wants_document {
            return None;
        }
        let page = self.finder().find_named(name)?;
        match self.deliver(page, request) {
            Ok(answer) => Some(answer.varying_by("Accept")),
            Err(why) => {
                error!("page {}: can't be read: {why}", name.escape_ascii());
                None
            }
        }
    }

    /// Returns the listing of a folder.
    fn list<'a, F>(
        &self,
        folder: &Folder,
        path: &RequestPath,
        request: &Request<'a, F>,
    ) -> io::Result<Answer>
    where
        F: Iterator<Item = (&'a str, &'a [u8])> + Clone,
    {
        const JSON: &str = "application/json";
        let listing = Listing::read(folder, &self.served.root)?;
        let is_json = content::accept::prefers_type(request.fields.clone(), JSON, "text/html");
        let (content_type, bytes) = if is_json {
            (&b"application/json"[..], listing.json())
        } else {
            (
                &b"text/html; charset=utf-8"[..],
                listing.html(path.decoded()),
            )
        };
        let answer = Answer {
            body: Content::Bytes(bytes.into()),
            ..Answer::empty(200)
        }
        .with("Content-Type", content_type)
        .with("Cache-Control", b"no-cache")
        .varying_by("Accept");
        Ok(self.served.settings.rules.finish(answer))
    }

    fn error(&self, status: u16, reason: &str, detail: &str) -> Answer {
        let names = [format!("{status}.html"), format!("{}x.html", status / 10)];
        let own = names.iter().find_map(|name| {
            let page = self.finder().find_named(name.as_bytes())?;
            let body = match self.chooser().read_short(&page).ok()? {
                Some(bytes) => Piece::Bytes(bytes),
                None => page.source.piece(all(page.revision.length), 0).ok()?,
            };
            Some((page.content_type, Content::from(body)))
        });
        let answer = match own {
            Some((content_type, body)) => Answer {
                body,
                ..Answer::empty(status)
            }
            .with("Content-Type", content_type),
            None => Answer::built_in(status, reason, detail),
        };
        self.served.settings.rules.finish(answer)
    }

    /// Returns the response for a page that may exist but cannot be served.
    fn page_error(&self, error: PageError) -> Answer {
        match error {
            PageError::Forbidden => {
                self.error(403, "Forbidden", "The server may not read this page.")
            }
            // Use the built-in page: the site's own page would need a file descriptor, and none are
            // left.
            PageError::Busy => {
                let answer = Answer::built_in(503, "Service Unavailable", "Try again in a moment.")
                    .with("Retry-After", RETRY_AFTER_S.as_bytes());
                self.served.settings.rules.finish(answer)
            }
            PageError::Broken => {
                self.error(500, "Internal Server Error", "The page can't be read.")
            }
        }
    }

    fn method_not_allowed(&self) -> Answer {
        let detail = format!("This is a page. It supports {METHODS}.");
        self.error(405, "Method Not Allowed", &detail)
            .with("Allow", METHODS.as_bytes())
    }

    fn not_implemented(&self) -> Answer {
        let detail = format!("Unknown method. The page supports {METHODS}.");
        self.error(501, "Not Implemented", &detail)
    }

    fn unsatisfiable(&self, form: &Representation) -> Answer {
        let detail = format!("The page has {} bytes.", form.length);
        self.error(416, "Range Not Satisfiable", &detail).with(
            "Content-Range",
            format!("bytes */{}", form.length).into_bytes(),
        )
    }

    /// Redirects to a folder's path with a trailing slash.
    fn moved_into(&self, path: &RequestPath, query: &[u8]) -> Answer {
        let location = location::of_folder(path, query);
        let detail = format!("This is a folder, and its page is at {location}");
        let answer = Answer::built_in(301, "Moved Permanently", &detail)
            .with("Location", location.into_bytes());
        self.served.settings.rules.finish(answer)
    }

    fn finder(&self) -> Finder<'_> {
        Finder {
            root: &self.served.root,
            kept: &self.served.settings.kept,
            options: &self.served.settings.options,
        }
    }

    fn chooser(&self) -> Chooser<'_> {
        Chooser {
            finder: self.finder(),
            compressed: &self.served.settings.compressed,
            now: SystemTime::now(),
        }
    }
}

/// Returns several parts of a page in one response.
fn several(form: &Representation, parts: &[Part]) -> io::Result<Answer> {
    let total: u64 = parts.iter().map(|part| part.length).sum();
    // The limit applies to the total: bytes that are read stay in memory until the client has
    // received them.
    let inline_max_bytes = if total <= INLINE_MAX_BYTES { total } else { 0 };
    let pieces = parts.iter().map(|part| {
        let piece = form.page.source.piece(*part, inline_max_bytes)?;
        Ok((*part, piece))
    });
    let pieces = pieces.collect::<io::Result<_>>()?;
    let joined = multipart::join(pieces, &form.content_type, form.length);
    Ok(Answer {
        body: joined.body,
        ..Answer::empty(206)
    }
    .with("Content-Type", joined.content_type))
}

/// Adds the fields that responses with status 200, 206 and 304 have in common.
fn finish(mut answer: Answer, form: Representation, rules: &PageRules<'_>) -> Answer {
    if answer.status != 304 {
        if let Some(coding) = form.coding {
            answer = answer.with("Content-Encoding", coding.name().as_bytes());
        }
        if form.has_ranges {
            answer = answer.with("Accept-Ranges", b"bytes");
        }
    }
    if let Some(date) = form.validators.last_modified() {
        answer = answer.with("Last-Modified", date.into_bytes());
    }
    answer = answer.with("ETag", form.validators.etag);
    if form.varies {
        answer = answer.varying_by("Accept-Encoding");
    }
    rules.finish(answer)
}

/// Returns a part that covers all of a page of `length` bytes.
fn all(length: u64) -> Part {
    Part { start: 0, length }
}
