//! Compiled code on disk, so that a restart need not compile.
//!
//! An entry's name is the hash of the file's bytes and of everything in the engine that affects the
//! compiled code.
//!
//! Compiled code is trusted when it is loaded: it runs outside any sandbox. Therefore
//!
//! - the folder and each entry must belong to this user, and no other user may write to them
//!   ([`folder`]). Both are checked on each access, through their descriptors;
//! - an entry ends with a checksum of all of it ([`entry`]), which is verified whenever an entry is
//!   opened, through the descriptor that is then mapped;
//! - an entry is written under another name, locked, synced to the disk and renamed, so that a
//!   reader never sees a partial one. A killed process leaves an unlocked file behind, which the
//!   next process that opens the cache removes ([`eviction`]).

mod entry;
mod eviction;
mod folder;
mod options;
#[cfg(test)]
mod tests;
mod turn;

pub(super) use turn::Turn;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, bail};

use self::folder::{Folder, Refusal};
pub use self::options::CacheFolder;
use super::code_file::CodeFile;
use super::fuse;
use super::fuse::CodeKey;
use super::pools::{image, settings};
use crate::metrics::Counter;
use crate::permits::Permits;
use crate::registry::Version;
use crate::reload::{Later, Renewal};
use crate::units::size;

/// Creates the folder of a cache if it doesn't exist, with rights for this user alone.
///
/// # Errors
///
/// Fails if the folder can't be created, or can't be used as a cache.
pub fn create(folder: &Path) -> anyhow::Result<()> {
    Folder::open(folder).map(drop)
}

/// The maximum number of entries that are being written while their programs are served. Each can
/// hold memory, possibly for an obsolete program, and a thread. Further entries are written before
/// their programs are served.
const WRITES_LATER: usize = 4;

/// The minimum size of code that is mapped from its entry after the entry is written, in bytes: the
/// memory file from the compiler can't be evicted when memory is short. For smaller code, such as a
/// handler in Rust or C with some 200 KiB, that is not worth another program.
const REMAP_BYTES: u64 = 1 << 20;

/// The minimum length of a long entry, in bytes: two threads hash it in a millisecond or more.
const LONG_BYTES: u64 = 8 << 20;

/// A folder of compiled code.
#[derive(Debug)]
pub(super) struct CodeCache {
    folder: Folder,
    /// Its path, for messages.
    shown: PathBuf,
    engine: blake3::Hash,
    /// The maximum size of all entries on disk, in bytes.
    max_bytes: u64,
    /// The number of entries that this process has started to write: makes their names unique.
    written: AtomicU32,
    /// The last write failed, which was logged.
    is_failing: AtomicBool,
    /// One permit for each entry that is being written while its program is served.
    writes_later: Arc<Permits>,
    /// Held while a program in a long entry is read.
    reads: Mutex<()>,
}

/// The name of compiled code in the cache: a hash of its source and of how it was compiled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(blake3::Hash);

/// A part that components share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Code,
    Frame,
    /// The frame with which an interpreter loads an application.
    Loader,
}

/// Why an entry is not used.
#[derive(Debug)]
enum Unusable {
    /// Other users may write to the folder.
    Folder(anyhow::Error),
    /// The entry is invalid and must be removed: the reason.
    Entry(String),
    /// The system can't open the entry now, for example for lack of descriptors.
    Now(std::io::Error),
}

impl CodeCache {
    /// Opens the cache, creating the folder if it is missing. Removes entries beyond `max_bytes` on
    /// disk, entries that were not used for long, and unfinished files.
    ///
    /// # Errors
    ///
    /// Fails if the folder can't be created or opened, or if users other than this one may write to
    /// it or replace it.
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
            writes_later: Arc::default(),
            reads: Mutex::default(),
        };
        // A failed cleanup is retried later.
        let _ = eviction::clear_out(&cache.folder, max_bytes);
        Ok(cache)
    }

    /// Returns the entry for the code of a file of this version.
    pub(super) fn entry(&self, version: Version) -> Entry {
        self.named(version.as_bytes(), b"")
    }

    /// Returns the entry for the code of a file of this version that was compiled quickly.
    pub(super) fn quick_entry(&self, version: Version) -> Entry {
        self.named(version.as_bytes(), b"quick")
    }

    /// Returns the entry for a part of components whose code has this key.
    pub(super) fn part(&self, key: CodeKey, part: Part) -> Entry {
        let kind: &[u8] = match part {
            Part::Code => b"code",
            Part::Frame => b"frame",
            Part::Loader => b"loader",
        };
        self.named(key.as_bytes(), kind)
    }

    /// Returns the entry of a kind of code with this key. No two collide: all keys have the same
    /// length.
    fn named(&self, key: &[u8; 32], kind: &[u8]) -> Entry {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.engine.as_bytes());
        hasher.update(key).update(kind);
        Entry(hasher.finalize())
    }

    /// Waits until no other program in a long entry is being read, if this is a long entry. All
    /// processors verify one. If several were read at the same time, as at the start of a server
    /// with many scripts, none would be complete before the last.
    pub(super) fn turn_to_read(&self, entry: &Entry) -> Option<MutexGuard<'_, ()>> {
        // A panic while the lock is held leaves nothing inconsistent.
        let lock = || self.reads.lock().unwrap_or_else(PoisonError::into_inner);
        (self.folder.length(&entry.name()) >= LONG_BYTES).then(lock)
    }

    /// Opens an entry, if it exists, and verifies its checksum. Removes an entry that is damaged or
    /// that other users may write to, and logs that.
    pub(super) fn read(&self, entry: &Entry) -> Option<CodeFile> {
        let found = self.look_up(entry);
        match &found {
            Ok(Some(_)) => Counter::CacheHits.increment(),
            _ => Counter::CacheMisses.increment(),
        }
        match found {
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
            // For example, a block that the disk can't read.
            Err(error) => return Err(Unusable::Entry(format!("can't be read ({error})"))),
        }
        // Tells `room` that it is in use. Where this can't be written, nothing can be removed
        // either.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(CodeFile::checked(file)))
    }

    /// Stores code, and returns it as a file of the cache: its pages are shared with all processes
    /// that map it, and the kernel can evict them. Returns `None` if storing fails. This is logged
    /// once, not for each entry.
    pub(super) fn store(&self, entry: &Entry, code: &CodeFile) -> Option<CodeFile> {
        self.put(entry, code).then(|| self.read(entry))?
    }

    /// Stores code after its program is served, and says whether to map it from the cache then. The
    /// memory file is served first, because syncing an entry to the disk takes up to a second if
    /// other processes keep the disk busy. If too many entries are being written already, stores
    /// the code now, as [`store`](Self::store) does.
    pub(super) fn store_later(
        self: &Arc<Self>,
        entry: Entry,
        code: &CodeFile,
        later: &Later,
    ) -> Option<CodeFile> {
        let Some(permit) = Permits::try_acquire(&self.writes_later, WRITES_LATER) else {
            return self.store(&entry, code);
        };
        let (cache, code) = (self.clone(), code.clone());
        later.put(move || {
            let _permit = permit;
            let is_long = code
                .file()
                .metadata()
                .is_ok_and(|it| it.len() > REMAP_BYTES);
            match cache.put(&entry, &code) && is_long {
                true => Renewal::Recall,
                false => Renewal::Unneeded,
            }
        });
        None
    }

    /// Writes an entry. Returns `false` on failure, which is logged once, not for each entry.
    fn put(&self, entry: &Entry, code: &CodeFile) -> bool {
        let written = self.write(entry, code);
        let failed = written.is_err();
        let was_failing = self.is_failing.swap(failed, Ordering::Relaxed);
        match written {
            Ok(()) => {}
            Err(error) if was_failing => tracing::debug!("code cache: {error:#}"),
            Err(error) => self.tell(&error),
        }
        !failed
    }

    /// Removes an unusable entry and logs it.
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

    /// Writes an entry to a new file, syncs it, and makes space for it.
    fn fill(&self, entry: &Entry, code: &CodeFile, file: &File) -> anyhow::Result<()> {
        entry::write(entry, code.file(), file)?;
        file.sync_all()?;
        let bytes = folder::on_disk(file)?;
        // Check first: don't remove all other entries for it.
        if bytes > self.max_bytes
            || eviction::clear_out(&self.folder, self.max_bytes)? > self.max_bytes
        {
            bail!(
                "no space for {} (site.code-cache-size is {})",
                size::show(bytes),
                size::show(self.max_bytes)
            );
        }
        Ok(())
    }

    /// Creates a file for an entry. No other process removes it while it is open.
    fn create(&self, entry: &Entry) -> anyhow::Result<(OsString, File)> {
        // A name can exist if another process had this ID, or has it in another PID namespace.
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

/// Returns a hash of everything that affects compiled code except its source.
fn fingerprint(engine: &wasmtime::Engine) -> blake3::Hash {
    let mut fingerprint = Fingerprint::default();
    engine
        .precompile_compatibility_hash()
        .hash(&mut fingerprint);
    // The conversion of core modules to components.
    env!("CARGO_PKG_VERSION").hash(&mut fingerprint);
    // The fusing of a component's core modules.
    fuse::REVISION.hash(&mut fingerprint);
    // These affect the stored memory images, and are not in the engine's own hash.
    settings::IMAGE_BYTES.hash(&mut fingerprint);
    image::REVISION.hash(&mut fingerprint);
    // The layout of an entry: another version is not damage, but gets another name.
    entry::MARK.hash(&mut fingerprint);
    fingerprint.0.finalize()
}

/// A collision-resistant hasher for types that implement `std::hash`.
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
