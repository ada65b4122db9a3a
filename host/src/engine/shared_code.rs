//! Code that several handlers share: an interpreter's, compiled once, stored in the code cache
//! once, and mapped once into each pool.
//!
//! A component made from a snapshot is compiled in parts (`fuse::Apart`): the code and the frame,
//! which are the same for all snapshots of one interpreter, and the state. A handler's own file is
//! the state, and identifies its code by a hash ([`CodeKey`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::cache::{CodeCache, Part, Turn};
use super::code_file::{CodeFile, Mapped};
use super::compiled::{Compiled, InParts};
use super::fuse::CodeKey;
use crate::reload::CancelToken;

/// The files with a program's compiled code. Clones refer to the same files.
#[derive(Clone, Debug)]
pub(super) struct ProgramFiles {
    /// Its own file: all of the code, or the state.
    pub(super) own: CodeFile,
    /// The code that it shares with others, if its own file is a state.
    pub(super) shared: Option<Arc<SharedCode>>,
}

/// Compiled code of an interpreter, and the component around it.
pub(super) struct SharedCode {
    pub(super) code: CodeFile,
    pub(super) frame: CodeFile,
    /// The code as mapped into the pools that have requested it: at most two.
    mapped: Mutex<Vec<(Component, Module)>>,
}

/// All shared code of one server: that of loaded handlers, and that in the code cache.
#[derive(Clone, Debug)]
pub(super) struct SharedCodes {
    known: Arc<Mutex<HashMap<CodeKey, Weak<SharedCode>>>>,
    cache: Option<Arc<CodeCache>>,
}

impl ProgramFiles {
    /// Maps the code into an engine.
    ///
    /// # Errors
    ///
    /// Fails if the code was compiled for other settings than the engine's, or the system has no
    /// space for the mapping.
    pub(super) fn map(&self, engine: &Engine) -> wasmtime::Result<Compiled> {
        match (self.own.map(engine)?, &self.shared) {
            (Mapped::Component(component), None) => Ok(Compiled::Component(component)),
            (Mapped::Module(module), None) => Ok(Compiled::Direct(module)),
            (Mapped::Module(state), Some(shared)) => {
                let (frame, code) = shared.map(engine)?;
                Ok(Compiled::InParts(InParts { frame, code, state }))
            }
            (Mapped::Component(_), Some(_)) => Err(wasmtime::Error::msg(
                "its state is not a \
                                                                         module",
            )),
        }
    }
}

impl From<CodeFile> for ProgramFiles {
    fn from(own: CodeFile) -> Self {
        Self { own, shared: None }
    }
}

impl SharedCode {
    pub(super) fn new(code: CodeFile, frame: CodeFile) -> Self {
        Self {
            code,
            frame,
            mapped: Mutex::default(),
        }
    }

    fn map(&self, engine: &Engine) -> wasmtime::Result<(Component, Module)> {
        let mut mapped = lock(&self.mapped);
        let known = mapped
            .iter()
            .find(|(frame, _)| Engine::same(frame.engine(), engine));
        if let Some(known) = known {
            return Ok(known.clone());
        }
        match (self.frame.map(engine)?, self.code.map(engine)?) {
            (Mapped::Component(frame), Mapped::Module(code)) => {
                mapped.push((frame.clone(), code.clone()));
                Ok((frame, code))
            }
            _ => Err(wasmtime::Error::msg("shared code is of another form")),
        }
    }
}

impl SharedCodes {
    /// Creates a collection that initially has only the code in the cache.
    pub(super) fn new(cache: Option<Arc<CodeCache>>) -> Self {
        Self {
            known: Arc::default(),
            cache,
        }
    }

    /// Returns the code with this key, if it was compiled before.
    pub(super) fn find(&self, key: CodeKey) -> Option<Arc<SharedCode>> {
        let mut known = lock(&self.known);
        if let Some(shared) = known.get(&key).and_then(Weak::upgrade) {
            return Some(shared);
        }
        let cache = self.cache.as_ref()?;
        let read = |part| cache.read(&cache.part(key, part));
        let shared = SharedCode::new(read(Part::Code)?, read(Part::Frame)?);
        let shared = Arc::new(shared);
        known.insert(key, Arc::downgrade(&shared));
        Some(shared)
    }

    /// Waits until no other load compiles the code with this key, which may then be stored. Returns
    /// `None` if there is no cache to store it in.
    pub(super) fn turn(&self, key: CodeKey, cancel: &CancelToken) -> Option<Turn<'_>> {
        let cache = self.cache.as_ref()?;
        cache.turn(&cache.part(key, Part::Code), cancel)
    }

    /// Stores compiled code.
    pub(super) fn put(&self, key: CodeKey, code: CodeFile, frame: CodeFile) -> Arc<SharedCode> {
        let keep = |part, file| match &self.cache {
            Some(cache) => cache.store(&cache.part(key, part), &file).unwrap_or(file),
            None => file,
        };
        let shared = SharedCode::new(keep(Part::Code, code), keep(Part::Frame, frame));
        let shared = Arc::new(shared);
        let mut known = lock(&self.known);
        known.retain(|_, shared| shared.strong_count() > 0);
        known.insert(key, Arc::downgrade(&shared));
        shared
    }
}

/// Returns the key of the code to which a compiled module is the state, if it is one.
pub(super) fn key_of_state(module: &Module) -> Option<CodeKey> {
    let mut exports = module.exports();
    exports.find_map(|export| CodeKey::from_mark(export.name()))
}

impl fmt::Debug for SharedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCode").finish_non_exhaustive()
    }
}

/// Locks a mutex. A panic while the lock is held can't leave the value inconsistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::Program;
    use super::super::{CacheFolder, Engine as Handlers};
    use super::*;
    use crate::policy::Budget;
    use crate::registry::Version;
    use crate::reload::Load;

    /// Returns a command as a snapshot of more than a megabyte that starts with `first`.
    fn snapshot(first: &str) -> Vec<u8> {
        let data = "x".repeat(1 << 20);
        let text = format!(
            r#"(component
              (core module $a
                (memory (export "memory") 20)
                (global $g (mut i32) (i32.const {}))
                (data (i32.const 0) "{first}")
                (data (i32.const 4096) "{data}")
                (func (export "next") (result i32)
                  (global.set $g (i32.load (i32.const 0))) (global.get $g)))
              (core module $b
                (import "a" "next" (func $next (result i32)))
                (func (export "run") (result i32) (drop (call $next)) (i32.const 0)))
              (core instance $a (instantiate $a))
              (core instance $b (instantiate $b (with "a" (instance $a))))
              (func $run (result (result)) (canon lift (core func $b "run")))
              (instance $i (export "run" (func $run)))
              (export "wasi:cli/run@0.2.0" (instance $i)))"#,
            first.len()
        );
        wat::parse_str(text).expect("it parses")
    }

    fn handlers(cache: Option<&Path>) -> Handlers {
        let cache = cache.map(|folder| CacheFolder {
            folder,
            max_bytes: 1 << 30,
        });
        Handlers::compiling_here(&Budget::default(), cache).expect("an engine")
    }

    fn shared(program: &Program) -> Arc<SharedCode> {
        let shared = &program.0.in_overflow.files.shared;
        shared.clone().expect("it is in parts")
    }

    #[test]
    fn snapshots_of_one_interpreter_have_one_code_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("code");
        let entries = || fs::read_dir(&cache).expect("a cache").count();
        let engine = handlers(Some(&cache));
        let (one, two) = (snapshot("one"), snapshot("another"));
        let first = engine.load(&one).expect("it loads");
        assert_eq!(entries(), 3, "code, frame and state");
        let second = engine.load(&two).expect("it loads");
        assert_eq!(entries(), 4, "another state");
        assert!(Arc::ptr_eq(&shared(&first), &shared(&second)));
        // As after a restart.
        let engine = handlers(Some(&cache));
        let [first, second] = [&one, &two].map(|bytes| {
            let program = engine.recall(Path::new("a.wasm"), Version::from_content(bytes));
            program.expect("it is in the cache")
        });
        assert!(Arc::ptr_eq(&shared(&first), &shared(&second)));
        assert_eq!(entries(), 4);
    }

    #[test]
    fn a_state_whose_code_is_gone_from_the_cache_is_compiled_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = folder.path().join("code");
        let one = snapshot("one");
        let of = CodeCache::open(&cache, 1 << 30, &handlers(None).first.engine).expect("a cache");
        let program = handlers(Some(&cache)).load(&one).expect("it loads");
        let state = program
            .0
            .in_overflow
            .files
            .own
            .map(&handlers(None).first.engine);
        let Ok(Mapped::Module(state)) = state else {
            panic!("a state is a module");
        };
        let key = key_of_state(&state).expect("it names its code");
        let at = Path::new("a.wasm");
        for part in [Part::Code, Part::Frame] {
            of.discard(&of.part(key, part), "goes");
            let engine = handlers(Some(&cache));
            assert!(engine.recall(at, Version::from_content(&one)).is_none());
            engine.load(&one).expect("it loads");
            assert!(engine.recall(at, Version::from_content(&one)).is_some());
        }
    }

    #[test]
    fn without_a_cache_code_is_shared_as_long_as_somebody_has_it() {
        let engine = handlers(None);
        let first = engine.load(&snapshot("one")).expect("it loads");
        let second = engine.load(&snapshot("another")).expect("it loads");
        assert!(Arc::ptr_eq(&shared(&first), &shared(&second)));
        let weak = Arc::downgrade(&shared(&first));
        drop((first, second));
        assert!(weak.upgrade().is_none());
        engine.load(&snapshot("one")).expect("it loads again");
    }
}
