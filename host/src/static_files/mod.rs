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

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use tracing::{error, warn};

use self::conditional::{Conditions, Validators, Verdict};
use self::resolve::{Found, Page, Trouble};
use self::root::Root;
use crate::router::RequestPath;

pub use self::answer::{Answer, Content, Field};
pub use self::error_page::error_page;

/// The longest body that is read into memory at once, in bytes. About what a fresh TCP connection's
/// send buffer takes in one write; with more, a slow client would keep the copy waiting in memory.
const INLINE_MAX_BYTES: u64 = 64 * 1024;

/// How often a page is opened anew because it became shorter while it was read. Whoever writes a
/// file that often does it all the time.
const READ_ATTEMPTS: usize = 3;

/// A folder of pages. Shared by all reactor threads.
#[derive(Debug)]
pub struct Pages {
    root: Root,
}

/// What the pages look at in a request.
struct Request<'a, F> {
    method: &'a str,
    /// Without the `?`, as it was sent.
    query: &'a [u8],
    /// Only called for a page that is there.
    fields: F,
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
}
