//! Compiled code on disk, so that a restart need not compile.
//!
//! An entry's name is the hash of the file's bytes and of everything in the engine that
//! decides what its code looks like. Entries are written to one side and renamed, so that a
//! reader never sees half of one.
//!
//! Compiled code is trusted when it is loaded: it runs outside of any sandbox. So the folder must
//! belong to this user and be writable by nobody else, which is checked; see [`CodeCache::open`].

use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use wasmtime::component::Component;
use wasmtime::{Module, Precompiled};

use super::compiled::Compiled;
use super::{LoadError, fuse, pool};
use crate::registry::Version;

/// Entries that no start has used for this long are removed at the next: four weeks. A handler
/// that is still there and is compiled again pays once.
const KEEP: Duration = Duration::from_secs(28 * 24 * 60 * 60);

/// A folder of compiled code.
#[derive(Debug)]
pub(super) struct CodeCache {
    folder: PathBuf,
    engine: blake3::Hash,
}

/// Names compiled code in the cache: a hash of what it was made of, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry(blake3::Hash);

impl CodeCache {
    /// Opens the cache, making the folder if it isn't there, and clears out old entries.
    ///
    /// # Errors
    ///
    /// Fails when the folder can't be made, or when others than this user may write to it.
    pub(super) fn open(folder: &Path, engine: &wasmtime::Engine) -> anyhow::Result<Self> {
        let shown = folder.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("could not make the folder {shown} (--code-cache)"))?;
        let metadata =
            fs::metadata(folder).with_context(|| format!("could not look at {shown}"))?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user || metadata.mode() & 0o022 != 0 {
            bail!(
                "{shown} must belong to this user and be writable by nobody else: compiled code \
                 is trusted (--code-cache names another folder)"
            );
        }
        let mut fingerprint = Fingerprint::default();
        engine
            .precompile_compatibility_hash()
            .hash(&mut fingerprint);
        // How this program makes a component of a core module.
        env!("CARGO_PKG_VERSION").hash(&mut fingerprint);
        // How it fuses a component's core modules.
        fuse::REVISION.hash(&mut fingerprint);
        // Decides how a memory's image is stored, and is not in the engine's own hash.
        pool::IMAGE_BYTES.hash(&mut fingerprint);
        let cache = Self {
            folder: folder.to_owned(),
            engine: fingerprint.0.finalize(),
        };
        cache.clear_out();
        Ok(cache)
    }

    /// The code of these bytes: from the cache, or by `compile` and then kept.
    ///
    /// # Errors
    ///
    /// Fails as `compile` does. An entry that can't be read or written costs time, nothing else.
    pub(super) fn load(
        &self,
        engine: &wasmtime::Engine,
        entry: &Entry,
        bytes: &[u8],
        compile: impl FnOnce(&wasmtime::Engine, &[u8]) -> Result<Compiled, LoadError>,
    ) -> Result<Compiled, LoadError> {
        if let Some(compiled) = self.read(engine, entry) {
            return Ok(compiled);
        }
        let compiled = compile(engine, bytes)?;
        match self.write(&self.path(entry), &compiled) {
            // From the file, code and memory's image are pages that the kernel shares and can drop;
            // as they were compiled, they are memory of ours: 100 MB of it for a Python program.
            Ok(()) => Ok(self.read(engine, entry).unwrap_or(compiled)),
            Err(error) => {
                tracing::warn!(
                    "compiled code was not kept in {}: {error:#}",
                    self.folder.display()
                );
                Ok(compiled)
            }
        }
    }

    /// Names the code of a file of this version.
    pub(super) fn entry(&self, version: Version) -> Entry {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.engine.as_bytes());
        hasher.update(version.as_bytes());
        Entry(hasher.finalize())
    }

    /// Loads an entry, if it is there and of this engine.
    pub(super) fn read(&self, engine: &wasmtime::Engine, entry: &Entry) -> Option<Compiled> {
        read(engine, &self.path(entry))
    }

    fn path(&self, entry: &Entry) -> PathBuf {
        self.folder.join(format!("{}.cwasm", entry.0.to_hex()))
    }

    fn write(&self, entry: &Path, code: &Compiled) -> anyhow::Result<()> {
        let code = code.serialize()?;
        // Two processes may write the same entry; each to a file of its own.
        let aside = entry.with_extension(format!("{}.part", std::process::id()));
        let mut file = fs::File::create(&aside)?;
        file.write_all(&code)?;
        drop(file);
        fs::rename(&aside, entry)?;
        Ok(())
    }

    /// Removes what no start has used for long. Whatever fails stays for another time.
    fn clear_out(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return;
        };
        let Some(oldest) = SystemTime::now().checked_sub(KEEP) else {
            return;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let ours = path
                .extension()
                .is_some_and(|ext| ext == "cwasm" || ext == "part");
            let old = entry
                .metadata()
                .and_then(|data| data.modified())
                .is_ok_and(|t| t < oldest);
            if ours && old {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The same program for another engine with the same settings for code: nothing is compiled again.
/// Where it is kept in a cache it comes from there, and shares its pages with all others that do.
///
/// # Errors
///
/// There is no memory for it.
pub(super) fn again(
    engine: &wasmtime::Engine,
    compiled: &Compiled,
    kept: Option<(&CodeCache, &Entry)>,
) -> wasmtime::Result<Compiled> {
    if let Some(compiled) = kept.and_then(|(cache, entry)| cache.read(engine, entry)) {
        return Ok(compiled);
    }
    let code = compiled.serialize()?;
    // SAFETY: the bytes are what wasmtime has just written, in this process.
    #[allow(
        unsafe_code,
        reason = "loading compiled code is unsafe by nature; see above"
    )]
    unsafe {
        Ok(match compiled {
            Compiled::Component(_) => Compiled::Component(Component::deserialize(engine, code)?),
            Compiled::Direct(_) => Compiled::Direct(Module::deserialize(engine, code)?),
        })
    }
}

fn read(engine: &wasmtime::Engine, entry: &Path) -> Option<Compiled> {
    if !entry.exists() {
        return None;
    }
    let layer = wasmtime::Engine::detect_precompiled_file(entry);
    // SAFETY: the file is one that this program wrote from a component which it had compiled
    // itself: the folder belongs to this user and nobody else may write to it (`open` checks), the
    // name is a hash of what was compiled and how, and a file only ever appears whole, by rename.
    // wasmtime checks its own header for version and settings. It maps the file; nobody writes to
    // an entry in place.
    #[allow(
        unsafe_code,
        reason = "loading compiled code is unsafe by nature; see above"
    )]
    let compiled = unsafe {
        match layer {
            Ok(Some(Precompiled::Module)) => {
                Module::deserialize_file(engine, entry).map(Compiled::Direct)
            }
            _ => Component::deserialize_file(engine, entry).map(Compiled::Component),
        }
    };
    match compiled {
        Ok(compiled) => {
            // So that `clear_out` sees that it is in use.
            if let Ok(file) = fs::File::options().append(true).open(entry) {
                let _ = file.set_modified(SystemTime::now());
            }
            Some(compiled)
        }
        Err(error) => {
            tracing::debug!("{}: compiling again: {error:#}", entry.display());
            None
        }
    }
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
