//! Which form of a page a client gets: as it is, or compressed.
//!
//! A file beside the page with `.br`, `.zst` or `.gz` behind its name is the page in that coding,
//! made beforehand; it is a file like any other, with ranges and validators of its own. It is not
//! used when it is older than the page: somebody forgot to make it anew. Where there is none, a
//! page of a size that doesn't keep a reactor busy is compressed here, and the result kept under
//! the state of the file that it was made of.

use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use tracing::error;
use wasgi_fields::range::Part;

use super::cache::Cache;
use super::content_type::ContentType;
use super::page::{INLINE_MAX_BYTES, Page, Revision, Source};
use super::resolve::Finder;
use super::rules::PageRules;
use super::validators::Validators;
use crate::content::{Coding, Encodings, is_compressible};

/// The longest page that is compressed here, in bytes: with the slowest coding, a few milliseconds,
/// in which a reactor does nothing else. A longer one goes out as it is, unless it has been
/// compressed beforehand.
const COMPRESS_MAX_BYTES: u64 = 256 * 1024;

/// Pages compressed here, by the state of the file and the coding.
pub(super) type Compressed = Cache<(Revision, Coding), Attempt>;

/// What came of compressing a page.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    Smaller(Bytes),
    /// It is better sent as it is, to who takes that.
    Useless(Bytes),
    Failed,
}

/// A page in the form that is sent.
#[derive(Debug)]
pub(super) struct Representation {
    /// The file of this form, or the bytes that were made of it.
    pub(super) page: Page,
    /// In bytes.
    pub(super) length: u64,
    /// Of the page itself, whatever the form.
    pub(super) content_type: ContentType,
    pub(super) coding: Option<Coding>,
    pub(super) validators: Validators,
    /// Whether parts of it can be had. Not of what was compressed here: another version of this
    /// program may compress it otherwise.
    pub(super) has_ranges: bool,
    /// Whether another client might get another form.
    pub(super) varies: bool,
}

/// Chooses the form of a page.
#[derive(Clone, Copy)]
pub(super) struct Chooser<'a> {
    pub(super) finder: Finder<'a>,
    pub(super) compressed: &'a Compressed,
    pub(super) now: SystemTime,
}

impl Chooser<'_> {
    /// The form of `page` for a client that takes these codings, and wants a part or not.
    ///
    /// Fails if the page can't be read: with `UnexpectedEof` if its file has become shorter.
    pub(super) fn choose(
        &self,
        page: Page,
        rules: &PageRules<'_>,
        encodings: impl FnOnce() -> Encodings,
        wants_part: bool,
    ) -> io::Result<Representation> {
        let content_type = match rules.content_type() {
            Some(content_type) => content_type.to_vec().into(),
            None => page.content_type.clone(),
        };
        // It is the only form that there is, whatever the client takes. A rule that says what sort
        // of archive it is wants it as it is.
        let is_coded = rules.content_type().is_none() || is_compressible(&content_type);
        if let Some(coding) = page.coding
            && is_coded
        {
            return Ok(self.represent(page, content_type, Some(coding), false));
        }
        let options = self.finder.options;
        let varies =
            (options.precompressed || options.compress.pages) && is_compressible(&content_type);
        if varies {
            let encodings = encodings();
            if options.precompressed
                && let Some((beside, coding)) = self.beside(&page, &encodings)
            {
                return Ok(self.represent(beside, content_type, Some(coding), varies));
            }
            // What is compressed here has no parts, and who refuses the page as it is must not get
            // parts of it: then all of it is sent.
            let whole_will_do = !wants_part || encodings.refuses_plain();
            let may_be_made = options.compress.pages && whole_will_do && !rules.no_transform();
            if may_be_made && let Some((bytes, coding)) = self.made(&page, &encodings)? {
                let page = Page {
                    source: Source::Memory(bytes.clone()),
                    ..page
                };
                return Ok(Representation {
                    length: bytes.len() as u64,
                    has_ranges: false,
                    ..self.represent(page, content_type, Some(coding), varies)
                });
            }
        }
        Ok(self.represent(page, content_type, None, varies))
    }

    fn represent(
        &self,
        page: Page,
        content_type: ContentType,
        coding: Option<Coding>,
        varies: bool,
    ) -> Representation {
        Representation {
            validators: Validators::of(&page.revision, coding, self.now),
            length: page.revision.length,
            page,
            content_type,
            coding,
            has_ranges: true,
            varies,
        }
    }

    /// All of a page that is short, and kept for the next request; or else none.
    pub(super) fn read_short(&self, page: &Page) -> io::Result<Option<Bytes>> {
        let whole = Part {
            start: 0,
            length: page.revision.length,
        };
        if whole.length > INLINE_MAX_BYTES || !matches!(page.source, Source::File(_)) {
            return Ok(None);
        }
        let bytes = page.source.read(whole)?;
        if page.revision.is_settled(self.now) {
            self.finder.keep(page, &bytes);
        }
        Ok(Some(bytes))
    }

    /// The file beside the page that was made of it beforehand, in the coding that suits best.
    fn beside(&self, page: &Page, encodings: &Encodings) -> Option<(Page, Coding)> {
        encodings.ranked(Coding::BY_SIZE).find_map(|coding| {
            let name = [&page.name, coding.ending().as_bytes()].concat();
            let beside = self.finder.find_named(&name)?;
            (!beside.revision.is_older_than(&page.revision)).then_some((beside, coding))
        })
    }

    /// The page compressed here, if that makes it smaller, or the page as it is won't do.
    fn made(&self, page: &Page, encodings: &Encodings) -> io::Result<Option<(Bytes, Coding)>> {
        let length = page.revision.length;
        let refuses_plain = encodings.refuses_plain();
        let least = match refuses_plain {
            true => 0,
            false => self.finder.options.compress.min_bytes,
        };
        if !(least..=COMPRESS_MAX_BYTES).contains(&length) {
            return Ok(None);
        }
        let Some(coding) = encodings.ranked(Coding::BY_SPEED).next() else {
            return Ok(None);
        };
        let attempt = match self.compressed.get(&(page.revision, coding)) {
            Some(attempt) => attempt,
            None => self.compress(page, coding)?,
        };
        Ok(match attempt {
            Attempt::Smaller(bytes) => Some((bytes, coding)),
            Attempt::Useless(bytes) if refuses_plain => Some((bytes, coding)),
            Attempt::Useless(_) | Attempt::Failed => None,
        })
    }

    fn compress(&self, page: &Page, coding: Coding) -> io::Result<Attempt> {
        let whole = Part {
            start: 0,
            length: page.revision.length,
        };
        let plain = match self.read_short(page)? {
            Some(bytes) => bytes,
            None => page.source.read(whole)?,
        };
        let attempt = match coding.compress(&plain) {
            Ok(bytes) if bytes.len() < plain.len() => Attempt::Smaller(bytes.into()),
            Ok(bytes) => Attempt::Useless(bytes.into()),
            Err(why) => {
                let page = page.name.escape_ascii();
                error!(
                    "page {page}: can't be compressed with {}: {why}",
                    coding.name()
                );
                Attempt::Failed
            }
        };
        if page.revision.is_settled(self.now) {
            let length = match &attempt {
                Attempt::Smaller(bytes) | Attempt::Useless(bytes) => bytes.len(),
                Attempt::Failed => 0,
            };
            let key = (page.revision, coding);
            self.compressed.put(key, attempt.clone(), length);
        }
        Ok(attempt)
    }
}
