//! Selects the form of a page for a client: unchanged or compressed.
//!
//! A file next to the page with `.br`, `.zst` or `.gz` appended to its name is the page in that
//! coding, compressed beforehand. It is a file like any other, with ranges and its own validators.
//! It is not used if it is older than the page, and therefore stale. Without such a file, a page
//! that is small enough not to block a reactor is compressed here, and the result is cached under
//! the state of its file.

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

/// The maximum length of a page that is compressed here, in bytes: with the slowest coding, this
/// blocks the reactor for a few milliseconds. A longer page is sent uncompressed, unless it was
/// compressed beforehand.
const COMPRESS_MAX_BYTES: u64 = 256 * 1024;

/// Pages compressed here, by the state of the file and the coding.
pub(super) type Compressed = Cache<(Revision, Coding), Attempt>;

/// The result of compressing a page.
#[derive(Clone, Debug)]
pub(super) enum Attempt {
    Smaller(Bytes),
    /// Not smaller. Only used for a client that does not accept the uncompressed page.
    Useless(Bytes),
    Failed,
}

/// A page in the form in which it is sent.
#[derive(Debug)]
pub(super) struct Representation {
    /// The file of this form, or the bytes derived from it.
    pub(super) page: Page,
    /// The length in bytes.
    pub(super) length: u64,
    /// The type of the page itself, regardless of the form.
    pub(super) content_type: ContentType,
    pub(super) coding: Option<Coding>,
    pub(super) validators: Validators,
    /// Whether ranges are supported. Not for pages compressed here: another version of this program
    /// may compress them differently.
    pub(super) has_ranges: bool,
    /// Whether another client may get another form.
    pub(super) varies: bool,
}

/// Selects the form of a page.
#[derive(Clone, Copy)]
pub(super) struct Chooser<'a> {
    pub(super) finder: Finder<'a>,
    pub(super) compressed: &'a Compressed,
    pub(super) now: SystemTime,
}

impl Chooser<'_> {
    /// Returns the form of `page` for a client that accepts these codings. `wants_part` says
    /// whether it requests a range.
    ///
    /// Fails if the page cannot be read, with `UnexpectedEof` if its file has become shorter.
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
        // The file has only this form, regardless of the accepted codings. A rule that declares it
        // as an archive makes it a download, without a coding.
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
            // A page compressed here has no ranges, and a client that does not accept the
            // uncompressed page must not get ranges of it: it then gets the whole page.
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
            validators: Validators::new(&page.revision, coding, self.now),
            length: page.revision.length,
            page,
            content_type,
            coding,
            has_ranges: true,
            varies,
        }
    }

    /// Reads all of a short page and caches it for the next request. None if the page is long or
    /// already in memory.
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

    /// Returns the precompressed file next to the page, in the most suitable coding.
    fn beside(&self, page: &Page, encodings: &Encodings) -> Option<(Page, Coding)> {
        encodings.ranked(Coding::BY_SIZE).find_map(|coding| {
            let name = [&page.name, coding.ending().as_bytes()].concat();
            let beside = self.finder.find_named(&name)?;
            (!beside.revision.is_older_than(&page.revision)).then_some((beside, coding))
        })
    }

    /// Returns the page compressed here, if that makes it smaller or if the client does not accept
    /// the uncompressed page.
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
