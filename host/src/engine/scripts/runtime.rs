//! A language's runtime: found in its folder, compiled on first use, and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::super::cache::Part;
use super::super::code_file::{CodeFile, Mapped};
use super::super::error::LoadError;
use super::super::shared_code::{ProgramFiles, key_of_state};
use super::stamp::add_file;
use super::tools::Tools;
use crate::mapped_bytes::MappedBytes;
use crate::registry::Version;
use crate::reload::{CancelToken, Language, MAX_HANDLER_BYTES};

/// A compiled runtime.
pub(super) struct Runtime {
    /// The stamp of the component's file when it was compiled.
    stamp: [u8; 32],
    /// The interpreter's state without an application, and its code.
    pub(super) files: ProgramFiles,
    pub(super) loader: CodeFile,
    /// The mark of the code.
    pub(super) mark: String,
}

/// The folder of a runtime. Clones share the compiled runtime.
#[derive(Clone)]
pub(super) struct RuntimeFolder {
    language: Language,
    path: Option<PathBuf>,
    ready: Arc<Ready>,
}

/// The compiled runtime of a folder, shared by all loads.
#[derive(Default)]
struct Ready {
    state: Mutex<State>,
    /// Signalled when a load has compiled it, has failed to, or has stopped waiting.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    runtime: Option<Arc<Runtime>>,
    is_compiling: bool,
}

/// The right to compile the runtime. Dropping it passes the right to the next load.
struct Turn<'r>(&'r Ready);

impl RuntimeFolder {
    /// Creates the handle of a language's runtime in the folder of all runtimes, if any.
    pub(super) fn new(language: Language, all: Option<&Path>) -> Self {
        Self {
            language,
            path: all.map(|all| all.join(names(language).0)),
            ready: Arc::default(),
        }
    }

    /// Returns the language of its scripts.
    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// Returns the folder, if any.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Returns the runtime. Compiles it first if it was not compiled or has been replaced. One of
    /// several loads compiles it; the others wait until that is done or they are cancelled.
    ///
    /// # Errors
    ///
    /// Fails if there is no usable runtime, or the load is cancelled.
    pub(super) fn runtime(
        &self,
        tools: &Tools<'_>,
        cancel: &CancelToken,
    ) -> Result<Arc<Runtime>, LoadError> {
        let stamp = self.stamp()?;
        let turn = match self.ready.turn(stamp, cancel)? {
            Ok(runtime) => return Ok(runtime),
            Err(turn) => turn,
        };
        let runtime = match kept(stamp, tools) {
            Some(runtime) => runtime,
            None => self.compiled(stamp, tools, cancel)?,
        };
        Ok(turn.done(runtime))
    }

    /// Returns a stamp of the runtime: its path, size and time.
    ///
    /// # Errors
    ///
    /// Fails if there is no runtime, or it can't be inspected.
    pub(super) fn stamp(&self) -> Result<[u8; 32], LoadError> {
        let path = self.component()?;
        let metadata = fs::metadata(&path).map_err(|error| self.missing(&path, &error))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"runtime");
        add_file(&mut hasher, &path, &metadata);
        Ok(*hasher.finalize().as_bytes())
    }

    /// Reads the interpreter's component.
    ///
    /// # Errors
    ///
    /// Fails if there is no runtime, or it can't be read.
    pub(super) fn read(&self) -> Result<MappedBytes, LoadError> {
        let path = self.component()?;
        let read = || {
            let mut file = File::open(&path)?;
            let expected = file.metadata()?.len();
            MappedBytes::read(&mut file, expected, MAX_HANDLER_BYTES)
        };
        let bytes = read().map_err(|error| self.missing(&path, &error))?;
        bytes.ok_or_else(|| {
            let (path, limit) = (path.display(), MAX_HANDLER_BYTES >> 20);
            LoadError::new(format!(
                "not loaded: {path} is larger than {limit} MiB, the limit for a runtime"
            ))
        })
    }

    fn component(&self) -> Result<PathBuf, LoadError> {
        let path = self.path.as_ref();
        let language = self.language;
        path.map(|path| path.join(names(language).1)).ok_or_else(|| {
            LoadError::new(format!(
                "not loaded: this server has no runtime for {}: `cargo xtask runtime` makes it, \
                 and site.runtime says where it is",
                language.name()
            ))
        })
    }

    fn missing(&self, path: &Path, error: &std::io::Error) -> LoadError {
        let line = format!(
            "not loaded: the runtime for {} can't be read: {}: {error}; `cargo xtask runtime` \
             makes it, and site.runtime says where it is",
            self.language.name(),
            path.display()
        );
        LoadError::of_io(line, error)
    }

    fn compiled(
        &self,
        stamp: [u8; 32],
        tools: &Tools<'_>,
        cancel: &CancelToken,
    ) -> Result<Runtime, LoadError> {
        let path = self.component()?;
        let bytes = self.read()?;
        let compiled = tools
            .compiler
            .runtime(tools.pool, &bytes, cancel, tools.shared);
        let (mut files, mut loader) =
            compiled.map_err(|error| error.within(&format!("not loaded: {}", path.display())))?;
        let mapped = files.own.map(&tools.pool.engine);
        let key = match &mapped {
            Ok(Mapped::Module(state)) => key_of_state(state),
            _ => None,
        };
        let Some(key) = key else {
            let path = path.display();
            return Err(LoadError::new(format!(
                "not loaded: {path} is not a runtime"
            )));
        };
        if let Some(cache) = tools.cache {
            let state = cache.store(&cache.entry(Version::from_content(&stamp)), &files.own);
            files.own = state.unwrap_or(files.own);
            loader = cache
                .store(&cache.part(key, Part::Loader), &loader)
                .unwrap_or(loader);
        }
        Ok(Runtime {
            stamp,
            files,
            loader,
            mark: key.mark(),
        })
    }
}

/// Returns a runtime from the cache.
fn kept(stamp: [u8; 32], tools: &Tools<'_>) -> Option<Runtime> {
    let cache = tools.cache?;
    let own = cache.read(&cache.entry(Version::from_content(&stamp)))?;
    let Ok(Mapped::Module(state)) = own.map(&tools.pool.engine) else {
        return None;
    };
    let key = key_of_state(&state)?;
    let shared = tools.shared.find(key)?;
    let loader = cache.read(&cache.part(key, Part::Loader))?;
    Some(Runtime {
        stamp,
        files: ProgramFiles {
            own,
            shared: Some(shared),
        },
        loader,
        mark: key.mark(),
    })
}

/// Returns the name of a language's folder, and of the interpreter's component in it.
fn names(language: Language) -> (&'static str, &'static str) {
    match language {
        Language::Python => ("python", "python.wasm"),
        Language::JavaScript => ("javascript", "javascript.wasm"),
    }
}

impl Ready {
    /// Waits for the runtime with this stamp, or for the right to compile it.
    ///
    /// # Errors
    ///
    /// Fails if the load is cancelled.
    fn turn(
        self: &Arc<Self>,
        stamp: [u8; 32],
        cancel: &CancelToken,
    ) -> Result<Result<Arc<Runtime>, Turn<'_>>, LoadError> {
        let ready = self.clone();
        let _on_cancel = cancel.on_cancel(move || {
            // Notify under the lock, so that no thread is just about to wait.
            let _state = ready.lock();
            ready.changed.notify_all();
        });
        let mut state = self.lock();
        let mut waiting = None;
        loop {
            let known = state.runtime.as_ref();
            if let Some(runtime) = known.filter(|runtime| runtime.stamp == stamp) {
                return Ok(Ok(runtime.clone()));
            }
            if cancel.is_cancelled() {
                return Err(LoadError::Cancelled);
            }
            if !state.is_compiling {
                state.is_compiling = true;
                return Ok(Err(Turn(self)));
            }
            waiting.get_or_insert_with(|| cancel.wait_for_another_load());
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Locks the state. A panic while the lock is held can't leave it inconsistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    fn done(self, runtime: Runtime) -> Arc<Runtime> {
        let runtime = Arc::new(runtime);
        self.0.lock().runtime = Some(runtime.clone());
        runtime
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_compiling = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn runtime(stamp: [u8; 32]) -> Runtime {
        let file = || CodeFile::seal(CodeFile::memory_file().expect("a file")).expect("sealed");
        Runtime {
            stamp,
            files: ProgramFiles::from(file()),
            loader: file(),
            mark: String::new(),
        }
    }

    #[test]
    fn one_compiles_it_and_all_others_have_it() {
        let ready = Arc::new(Ready::default());
        let compiled = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let turn = ready.turn([1; 32], &CancelToken::new()).expect("wanted");
                    if let Err(turn) = turn {
                        compiled.fetch_add(1, Ordering::SeqCst);
                        turn.done(runtime([1; 32]));
                    }
                });
            }
        });
        assert_eq!(compiled.into_inner(), 1);
    }

    #[test]
    fn who_waits_can_give_up_and_goes_on_where_the_first_one_fails() {
        let ready = Arc::new(Ready::default());
        let cancel = CancelToken::new();
        let first = ready.turn([1; 32], &cancel).expect("wanted");
        let Err(first) = first else {
            panic!("there is none yet");
        };
        thread::scope(|scope| {
            let waits = scope.spawn(|| ready.turn([1; 32], &cancel).is_err());
            let follows = scope.spawn(|| ready.turn([1; 32], &CancelToken::new()).is_ok());
            cancel.cancel();
            assert!(waits.join().expect("no panic"), "it has given up");
            drop(first);
            assert!(follows.join().expect("no panic"), "it has the turn");
        });
    }

    #[test]
    fn another_file_is_another_runtime() {
        let ready = Arc::new(Ready::default());
        let cancel = CancelToken::new();
        let Ok(Err(turn)) = ready.turn([1; 32], &cancel) else {
            panic!("there is none yet");
        };
        turn.done(runtime([1; 32]));
        assert!(matches!(ready.turn([1; 32], &cancel), Ok(Ok(_))));
        assert!(matches!(ready.turn([2; 32], &cancel), Ok(Err(_))));
    }
}
