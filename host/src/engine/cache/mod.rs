//! Compiled code on disk, so that a restart need not compile.
//!
//! An entry's name is the hash of the file's bytes and of everything in the engine that
//! decides what its code looks like.
//!
//! Compiled code is trusted when it is loaded: it runs outside of any sandbox. So
//!
//! - the folder must belong to this user and be writable by nobody else, and so must each entry
//!   ([`folder`]). Both are looked at each time, through their descriptors;
//! - an entry ends with a checksum of all of it ([`entry`]), which is compared each time that an
//!   entry is opened, through the descriptor that is then mapped;
//! - an entry is written under another name, locked, written to the disk and renamed, so that a
//!   reader never sees half of one. What a process that was killed leaves behind is not locked, and
//!   the next that opens the cache removes it ([`room`]).

mod entry;
mod folder;
mod room;
#[cfg(test)]
mod tests;
mod turn;

pub(super) use turn::Turn;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use anyhow::{Context, bail};

use self::folder::{Folder, Refusal};
use super::code_file::CodeFile;
use super::fuse::CodeKey;
use super::{fuse, image, pool};
use crate::registry::Version;
use crate::units::size;

/// A folder of compiled code.
#[derive(Debug)]
pub(super) struct CodeCache {
    folder: Folder,
    /// Its path, for messages.
    shown: PathBuf,
    engine: blake3::Hash,
    /// The most that all entries together take on disk, in bytes.
    max_bytes: u64,
    /// Entries that this process has begun to write: each has a name of its own.
    written: AtomicU32,
    /// Writing failed the last time, which was said.
    is_failing: AtomicBool,
}

/// Names compiled code in the cache: a hash of what it was made of, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(blake3::Hash);

/// One of the parts of a component that others have as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Code,
    Frame,
    /// The frame by which an interpreter loads an application.
    Loader,
}

/// Why an entry is not used.
#[derive(Debug)]
enum Unusable {
    /// The folder is not this user's alone any more.
    Folder(anyhow::Error),
    /// What is wrong with the entry: it is to be removed.
    Entry(String),
    /// The system can't open the entry now, for want of a descriptor for example.
    Now(std::io::Error),
}

impl CodeCache {
    /// Opens the cache, making the folder if it isn't there, and removes what has no room in
    /// `max_bytes` on disk, what was not used for long, and what was never finished.
    ///
    /// # Errors
    ///
    /// Fails when the folder can't be made or opened, and when others than this user may write to
    /// it or put another in its place.
    pub(super) fn open(
        path: &Path,
        max_bytes: u64,
        engine: &wasmtime::Engine,
    ) -> anyhow::Result<Self> {
        let folder = Folder::open(path).with_context(|| {
            format!(
                "the folder {} can't be used (--code-cache names another)",
                path.display()
            )
        })?;
        let cache = Self {
            folder,
            shown: path.to_owned(),
            engine: fingerprint(engine),
            max_bytes,
            written: AtomicU32::new(0),
            is_failing: AtomicBool::new(false),
        };
        // Whatever fails stays for another time.
        let _ = room::clear_out(&cache.folder, max_bytes);
        Ok(cache)
    }

    /// Names the code of a file of this version.
    pub(super) fn entry(&self, version: Version) -> Entry {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.engine.as_bytes());
        hasher.update(version.as_bytes());
        Entry(hasher.finalize())
    }

    /// Names a part of components whose code has this key.
    pub(super) fn part(&self, key: CodeKey, part: Part) -> Entry {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.engine.as_bytes());
        hasher.update(key.as_bytes());
        // Longer than a version's by this: never the same as one of those.
        hasher.update(match part {
            Part::Code => &b"code"[..],
            Part::Frame => b"frame",
            Part::Loader => b"loader",
        });
        Entry(hasher.finalize())
    }

    /// Opens an entry, if it is there, and compares its checksum. What is damaged, or not this
    /// user's alone, is removed, with a line in the log.
    pub(super) fn read(&self, entry: &Entry) -> Option<CodeFile> {
        match self.look_up(entry) {
            Ok(file) => file,
            Err(Unusable::Folder(error)) => {
                self.tell(&error);
                None
            }
            Err(Unusable::Entry(why)) => {
                self.discard(entry, &why);
                None
            }
            Err(Unusable::Now(error)) => {
                tracing::warn!(
                    "code cache: entry {} can't be opened: {error}: compiled again",
                    entry.name().display()
                );
                None
            }
        }
    }

    fn look_up(&self, entry: &Entry) -> Result<Option<CodeFile>, Unusable> {
        self.folder.check().map_err(Unusable::Folder)?;
        let file = match self.folder.read(&entry.name()) {
            Ok(file) => file,
            Err(Refusal::Missing) => return Ok(None),
            Err(Refusal::Untrusted(reason)) => return Err(Unusable::Entry(reason.into())),
            Err(Refusal::Unreadable(error)) => return Err(Unusable::Now(error)),
        };
        match entry::is_whole(entry, &file) {
            Ok(true) => {}
            Ok(false) => return Err(Unusable::Entry("is damaged".into())),
            // A block that the disk can't read, for one.
            Err(error) => return Err(Unusable::Entry(format!("can't be read ({error})"))),
        }
        // So that `room` sees that it is in use. Where that can't be written, nothing can be
        // removed either.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(CodeFile::checked(file)))
    }

    /// Keeps code, and gives it back as a file of the cache: its pages are shared with all
    /// processes that have it, and the kernel can drop them. None where it can't be kept, which is
    /// said in the log once, not for each entry.
    pub(super) fn store(&self, entry: &Entry, code: &CodeFile) -> Option<CodeFile> {
        let written = self.write(entry, code);
        let failed = written.is_err();
        let was_failing = self.is_failing.swap(failed, Ordering::Relaxed);
        match written {
            Ok(()) => self.read(entry),
            Err(error) if was_failing => {
                tracing::debug!("code cache: {error:#}");
                None
            }
            Err(error) => {
                self.tell(&error);
                None
            }
        }
    }

    /// Removes an entry that can't be used, and says so.
    pub(super) fn discard(&self, entry: &Entry, why: &str) {
        let name = entry.name();
        let removed = self.folder.remove(&name);
        let and = match removed {
            Ok(()) => String::new(),
            Err(error) => format!(" (and can't be removed: {error})"),
        };
        tracing::warn!(
            "code cache: entry {} {why}: compiled again{and}",
            name.display()
        );
    }

    fn tell(&self, error: &anyhow::Error) {
        tracing::warn!(
            "code cache: compiled handlers are not kept in {}: {error:#}",
            self.shown.display()
        );
    }

    fn write(&self, entry: &Entry, code: &CodeFile) -> anyhow::Result<()> {
        self.folder.check()?;
        let name = entry.name();
        let (aside, file) = self.create(entry)?;
        let written = self.fill(entry, code, &file);
        let written = written.and_then(|()| Ok(self.folder.rename(&aside, &name)?));
        if written.is_err() {
            let _ = self.folder.remove(&aside);
        }
        written
    }

    /// Writes an entry to a new file and to the disk, and makes room for it.
    fn fill(&self, entry: &Entry, code: &CodeFile, file: &File) -> anyhow::Result<()> {
        entry::write(entry, code.file(), file)?;
        file.sync_all()?;
        let bytes = folder::on_disk(file)?;
        // Before everything else is removed for it.
        if bytes > self.max_bytes || room::clear_out(&self.folder, self.max_bytes)? > self.max_bytes
        {
            bail!(
                "there is no room for {} (site.code-cache-size is {})",
                size::show(bytes),
                size::show(self.max_bytes)
            );
        }
        Ok(())
    }

    /// Makes a file to write an entry to, which no other process removes while it is open.
    fn create(&self, entry: &Entry) -> anyhow::Result<(OsString, File)> {
        // A name is taken where another process had this one's ID, or has it in its own namespace.
        const TRIES: usize = 100;
        for _ in 0..TRIES {
            let count = self.written.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}.{}-{count}.part", entry.0.to_hex(), std::process::id());
            if let Some(file) = self.folder.create(OsStr::new(&name))? {
                return Ok((name.into(), file));
            }
        }
        bail!("no name for a new file in {TRIES} tries");
    }
}

impl Entry {
    fn name(&self) -> OsString {
        format!("{}.cwasm", self.0.to_hex()).into()
    }
}

/// A hash of all that decides what compiled code looks like, but for the program itself.
fn fingerprint(engine: &wasmtime::Engine) -> blake3::Hash {
    let mut fingerprint = Fingerprint::default();
    engine
        .precompile_compatibility_hash()
        .hash(&mut fingerprint);
    // How this program makes a component of a core module.
    env!("CARGO_PKG_VERSION").hash(&mut fingerprint);
    // How it fuses a component's core modules.
    fuse::REVISION.hash(&mut fingerprint);
    // Decide how a memory's image is stored, and are not in the engine's own hash.
    pool::IMAGE_BYTES.hash(&mut fingerprint);
    image::REVISION.hash(&mut fingerprint);
    // How an entry is laid out: one of another version is not damaged, but has another name.
    entry::MARK.hash(&mut fingerprint);
    fingerprint.0.finalize()
}

/// A hasher without collisions, for what only knows `std::hash`.
#[derive(Default)]
struct Fingerprint(blake3::Hasher);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}
