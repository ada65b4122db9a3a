//! Layers: an application's packages, imported before the application.
//!
//! Importing a framework from source takes a second; importing a single-file application on top of
//! it takes some hundredths. So for each application and its installed packages, the state of an
//! interpreter that has imported the packages is stored in the code cache, and a load begins with
//! that state. The layer contains the modules that the last load has imported from the packages and
//! the library. It is created in the background, so a load without a layer doesn't wait for it.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use serde::Serialize;

use super::super::cache::{CodeCache, Entry};
use super::super::code_file::{CodeFile, Mapped};
use super::super::compile::{Compiler, GUEST_LIBRARY, GUEST_PACKAGES, ScriptJob};
use super::super::pools::instances::InstancePool;
use super::super::shared_code::key_of_state;
use super::folders::Folders;
use super::runtime::Runtime;
use super::stamp::{add_file, add_path};
use crate::registry::Version;
use crate::reload::CancelToken;

/// The maximum number of names in a packages folder that are read to detect changes: Django has
/// 6,000. Larger packages are imported at each load.
const MAX_FILES: usize = 50_000;

/// The maximum number of queued layers. A layer that doesn't fit is created after another load.
const MAX_WAITING: usize = 64;

/// Creates layers, one at a time. Clones share the queue.
#[derive(Clone, Default)]
pub(super) struct Layers(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    layers: VecDeque<Wanted>,
    /// A thread is creating layers.
    is_running: bool,
}

/// A layer to create.
pub(super) struct Wanted {
    pub(super) entry: Entry,
    /// It replaces one with fewer modules.
    pub(super) replaces: bool,
    /// The handler's name, for the log.
    pub(super) name: String,
    pub(super) modules: Vec<String>,
    /// The packages and the library.
    pub(super) folders: Folders,
    pub(super) runtime: Arc<Runtime>,
    pub(super) pool: InstancePool,
    pub(super) compiler: Compiler,
    pub(super) cache: Arc<CodeCache>,
}

/// The plan for the interpreter.
#[derive(Serialize)]
struct Plan<'a> {
    path: [&'static str; 2],
    packages: &'static str,
    layer: &'a [String],
}

/// Returns the version of the layer for an application with these packages. `None` if they have too
/// many files or can't be read.
pub(super) fn version(runtime: [u8; 32], application: &Path, packages: &Path) -> Option<Version> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"layer").update(&runtime);
    for path in [application, packages] {
        add_path(&mut hasher, path);
    }
    let mut left = MAX_FILES;
    add_folder(&mut hasher, packages, &mut left).ok()?;
    (left > 0).then(|| Version::from_content(hasher.finalize().as_bytes()))
}

/// Hashes the names, sizes and times of all files below a folder. `left` limits their number.
fn add_folder(hasher: &mut blake3::Hasher, folder: &Path, left: &mut usize) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder)? {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Ok(());
            }
            names.push(entry?.file_name());
        }
        names.sort();
        for name in names {
            // Python's compiled files.
            if name == "__pycache__" {
                continue;
            }
            let path = folder.join(&name);
            // Links are not followed. Those that lead outside are invisible in the sandbox.
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                folders.push(path);
                continue;
            }
            add_file(hasher, &path, &metadata);
        }
    }
    Ok(())
}

/// Returns the layer from the cache, if there is one for this runtime's code.
pub(super) fn kept(
    cache: &CodeCache,
    entry: &Entry,
    pool: &InstancePool,
    runtime: &Runtime,
) -> Option<CodeFile> {
    let file = cache.read(entry)?;
    let mapped = file.map(&pool.engine);
    let is_for_code = matches!(&mapped, Ok(Mapped::Module(state))
        if key_of_state(state).is_some_and(|key| key.mark() == runtime.mark));
    is_for_code.then_some(file)
}

impl Layers {
    /// Queues a layer.
    pub(super) fn want(&self, wanted: Wanted) {
        let mut waiting = self.lock();
        waiting.layers.retain(|other| other.name != wanted.name);
        if waiting.layers.len() >= MAX_WAITING {
            return;
        }
        waiting.layers.push_back(wanted);
        if waiting.is_running {
            return;
        }
        let layers = self.clone();
        let thread = thread::Builder::new()
            .name("wasgi-layers".into())
            .spawn(move || layers.run());
        // Without a thread, it is created after another load.
        waiting.is_running = thread.is_ok();
    }

    fn run(&self) {
        loop {
            let next = {
                let mut waiting = self.lock();
                let next = waiting.layers.pop_front();
                waiting.is_running = next.is_some();
                next
            };
            let Some(wanted) = next else {
                return;
            };
            wanted.make();
        }
    }

    /// Locks the queue. A panic while the lock is held can't leave it inconsistent.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// Creates the layer and stores it. A failure has no consequence: the packages are imported at
    /// each load.
    fn make(&self) {
        let begun = Instant::now();
        let cancel = CancelToken::new();
        // Another process may be creating it, or may have created it.
        let _turn = self.cache.turn(&self.entry, &cancel);
        let is_kept = || kept(&self.cache, &self.entry, &self.pool, &self.runtime).is_some();
        if !self.replaces && is_kept() {
            return;
        }
        let Some(code) = &self.runtime.files.shared else {
            return;
        };
        let plan = Plan {
            path: [GUEST_PACKAGES, GUEST_LIBRARY],
            packages: GUEST_PACKAGES,
            layer: &self.modules,
        };
        let Ok(plan) = serde_json::to_vec(&plan) else {
            return;
        };
        let job = ScriptJob {
            plan: &plan,
            parts: [&code.code, &self.runtime.loader, &self.runtime.files.own],
            mark: &self.runtime.mark,
            folders: &self.folders,
        };
        match self.compiler.script(&self.pool, &job, &cancel) {
            Ok(loaded) => {
                self.cache.store(&self.entry, &loaded.state);
                let (count, took) = (self.modules.len(), begun.elapsed());
                tracing::debug!(
                    handler = self.name,
                    "a layer of {count} modules is stored for its next load ({} ms)",
                    took.as_millis()
                );
            }
            Err(error) => {
                tracing::debug!(handler = self.name, "no layer of its packages: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_named_by_runtime_application_and_what_is_installed() {
        let folder = tempfile::tempdir().expect("a folder");
        let packages = folder.path().join("packages");
        let module = packages.join("package/module.py");
        fs::create_dir_all(packages.join("package/__pycache__")).expect("made");
        fs::write(&module, "x = 1").expect("written");
        let named = |runtime, application: &str| {
            version([runtime; 32], Path::new(application), &packages).expect("it has a name")
        };
        let first = named(1, "/a");
        assert_eq!(named(1, "/a"), first);
        assert_ne!(named(2, "/a"), first);
        assert_ne!(named(1, "/b"), first);
        fs::write(packages.join("package/__pycache__/module.pyc"), "x").expect("written");
        assert_eq!(named(1, "/a"), first);
        fs::write(&module, "x = 12").expect("written");
        assert_ne!(named(1, "/a"), first, "a file has changed");
        let second = named(1, "/a");
        fs::rename(&module, packages.join("package/renamed.py")).expect("renamed");
        assert_ne!(named(1, "/a"), second);
        assert!(version([1; 32], Path::new("/a"), &folder.path().join("none")).is_none());
    }

    #[test]
    fn a_folder_of_too_many_files_has_no_layer() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in 0..5 {
            fs::write(folder.path().join(name.to_string()), "").expect("written");
        }
        let mut hasher = blake3::Hasher::new();
        let mut left = 5;
        add_folder(&mut hasher, folder.path(), &mut left).expect("it can be read");
        assert_eq!(left, 0);
        let mut left = 6;
        add_folder(&mut hasher, folder.path(), &mut left).expect("it can be read");
        assert_eq!(left, 1);
    }
}
