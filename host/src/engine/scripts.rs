//! Scripts: applications in a language that is interpreted, as they are written.
//!
//! The server has a *runtime* for the language: a component with the interpreter and the binding to
//! the contract, which the project's set-up makes, and the language's library as files. It is
//! compiled once, in parts (`shared_code`). For each script a compiling process starts it, has it
//! import the application, and takes its state then ([`compile`](super::compile)); each request's
//! instance begins with that. In the sandbox an instance sees the same folders that the script was
//! loaded from, to read.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::cache::{CodeCache, Entry, Part};
use super::code_file::{CodeFile, Mapped};
use super::compile::{Compiler, GUEST_FOLDERS};
use super::load::{InstancePool, LoadError};
use super::shared_code::{ProgramFiles, SharedCodes, key_of_state};
use crate::registry::Version;
use crate::reload::{CancelToken, LoadRequest};

/// The interpreter's component in a runtime's folder, and the folder of its library.
const COMPONENT: &str = "python.wasm";
const LIBRARY: &str = "lib";

/// Where the packages of an application are looked for in its folder: what `pip install --target`
/// was given, or a virtual environment.
const PACKAGES: &str = ".packages";
const ENVIRONMENT: &str = ".venv";

/// The runtime of one server. Clones are the same.
#[derive(Clone)]
pub(super) struct Scripts {
    folder: Option<PathBuf>,
    ready: Arc<Mutex<Option<Arc<Runtime>>>>,
}

/// A runtime that is compiled.
struct Runtime {
    /// What the component's file was like then.
    stamp: [u8; 32],
    /// The interpreter's state without an application, and its code.
    files: ProgramFiles,
    loader: CodeFile,
    /// The name of the code.
    mark: String,
}

/// What an instance of a script sees of the file system, to read: each folder, and what it is
/// called there.
pub(super) type Folders = Arc<[(PathBuf, &'static str)]>;

/// What the interpreter is told.
#[derive(Serialize)]
struct Plan<'a> {
    /// Where modules are found.
    path: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    script: Option<OneFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<&'static str>,
}

#[derive(Serialize)]
struct OneFile<'a> {
    file: &'a str,
    source: &'a str,
}

/// What a script's load needs of an engine.
pub(super) struct Tools<'e> {
    pub(super) pool: &'e InstancePool,
    pub(super) compiler: &'e Compiler,
    pub(super) cache: Option<&'e Arc<CodeCache>>,
    pub(super) shared: &'e SharedCodes,
}

/// Whether a handler's path is that of a script: a file of Python's, or a folder.
pub(super) fn is_script(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "py") || path.is_dir()
}

impl Scripts {
    /// Scripts that are run by the runtime in this folder, if there is one.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder: folder.map(|folder| folder.join("python")),
            ready: Arc::default(),
        }
    }

    /// The folders that a script's instances see.
    pub(super) fn folders(&self, path: &Path) -> Folders {
        let Some(runtime) = &self.folder else {
            return Arc::default();
        };
        let mut folders = vec![runtime.join(LIBRARY)];
        if path.is_dir() {
            folders.push(path.to_owned());
            folders.extend(packages(path));
        }
        folders.into_iter().zip(GUEST_FOLDERS).collect()
    }

    /// Names the state of a script of this version in a cache. None where there is no runtime.
    pub(super) fn entry(&self, cache: &CodeCache, version: Version) -> Option<Entry> {
        let mut key = self.stamp().ok()?.to_vec();
        key.extend_from_slice(version.as_bytes());
        Some(cache.entry(Version::of(&key)))
    }

    /// Loads a script, and keeps its state in the cache.
    ///
    /// # Errors
    ///
    /// There is no runtime, or it can't be used; or the application can't be imported.
    pub(super) fn load(
        &self,
        request: &LoadRequest<'_>,
        tools: &Tools<'_>,
    ) -> Result<ProgramFiles, LoadError> {
        let runtime = self.runtime(tools, request.cancel)?;
        let folders = self.folders(request.path);
        let paths: Vec<PathBuf> = folders.iter().map(|(path, _)| path.clone()).collect();
        // The library comes last, so that an application's own module goes before it.
        let path = folders.iter().rev().map(|(_, name)| *name).collect();
        let is_folder = paths.len() > 1;
        let source = match is_folder {
            true => "",
            false => std::str::from_utf8(request.bytes)
                .map_err(|_| LoadError::new("not loaded: its text is not UTF-8"))?,
        };
        let name = request.path.file_name().unwrap_or_default();
        let file = name.to_string_lossy();
        let plan = Plan {
            path,
            script: (!is_folder).then_some(OneFile {
                file: &file,
                source,
            }),
            folder: is_folder.then_some(GUEST_FOLDERS[1]),
        };
        let plan = serde_json::to_vec(&plan)
            .map_err(|error| LoadError::new(format!("not loaded: {error}")))?;
        let Some(code) = &runtime.files.shared else {
            return Err(LoadError::new("not loaded: the runtime has no code"));
        };
        let (state, said) = tools.compiler.script(
            tools.pool,
            &plan,
            [&code.code, &runtime.loader, &runtime.files.own],
            &runtime.mark,
            &paths,
            request.cancel,
        )?;
        for line in said.lines() {
            tracing::info!(
                handler = request.name,
                "{}",
                crate::printable::one_line(line)
            );
        }
        let entry = tools.cache.and_then(|cache| {
            let entry = self.entry(cache, request.version)?;
            cache.store_later(entry, &state, request.later)
        });
        Ok(ProgramFiles {
            own: entry.unwrap_or(state),
            shared: runtime.files.shared.clone(),
        })
    }

    /// The runtime, which is compiled if it was not, or is another one by now.
    fn runtime(&self, tools: &Tools<'_>, cancel: &CancelToken) -> Result<Arc<Runtime>, LoadError> {
        let stamp = self.stamp()?;
        // Who else needs it waits until it is there.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = ready.as_ref().filter(|runtime| runtime.stamp == stamp) {
            return Ok(runtime.clone());
        }
        let runtime = match self.kept(stamp, tools) {
            Some(runtime) => runtime,
            None => self.compiled(stamp, tools, cancel)?,
        };
        let runtime = Arc::new(runtime);
        *ready = Some(runtime.clone());
        Ok(runtime)
    }

    /// What the cache has of it.
    fn kept(&self, stamp: [u8; 32], tools: &Tools<'_>) -> Option<Runtime> {
        let cache = tools.cache?;
        let own = cache.read(&cache.entry(Version::of(&stamp)))?;
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

    fn compiled(
        &self,
        stamp: [u8; 32],
        tools: &Tools<'_>,
        cancel: &CancelToken,
    ) -> Result<Runtime, LoadError> {
        let path = self.component()?;
        let bytes = fs::read(&path).map_err(|error| self.missing(&error))?;
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
            return Err(LoadError::new(format!("not loaded: {path} is no runtime")));
        };
        if let Some(cache) = tools.cache {
            let state = cache.store(&cache.entry(Version::of(&stamp)), &files.own);
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

    /// What tells one runtime from another: where its file is, its size and its time. Reading all
    /// of it would take longer than the rest of a start.
    fn stamp(&self) -> Result<[u8; 32], LoadError> {
        let path = self.component()?;
        let metadata = fs::metadata(&path).map_err(|error| self.missing(&error))?;
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"runtime")
            .update(path.as_os_str().as_encoded_bytes());
        for number in [
            metadata.size(),
            metadata.mtime().cast_unsigned(),
            metadata.mtime_nsec().cast_unsigned(),
        ] {
            hasher.update(&number.to_le_bytes());
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn component(&self) -> Result<PathBuf, LoadError> {
        let folder = self.folder.as_ref();
        folder.map(|folder| folder.join(COMPONENT)).ok_or_else(|| {
            LoadError::new(
                "not loaded: this server has no runtime for Python: `cargo xtask runtime` makes \
                 it, and site.runtime says where it is",
            )
        })
    }

    fn missing(&self, error: &std::io::Error) -> LoadError {
        let path = self
            .folder
            .as_deref()
            .unwrap_or(Path::new(""))
            .join(COMPONENT);
        LoadError::of_system(format!(
            "not loaded: the runtime for Python can't be read: {}: {error}; `cargo xtask runtime` \
             makes it, and site.runtime says where it is",
            path.display()
        ))
    }
}

/// The packages of an application, if it has any.
fn packages(folder: &Path) -> Option<PathBuf> {
    let packages = folder.join(PACKAGES);
    if packages.is_dir() {
        return Some(packages);
    }
    let versions = fs::read_dir(folder.join(ENVIRONMENT).join("lib")).ok()?;
    let installed = versions
        .flatten()
        .map(|version| version.path().join("site-packages"));
    installed.filter(|path| path.is_dir()).max()
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scripts")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}
