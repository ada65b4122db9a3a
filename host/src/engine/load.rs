//! From a file's bytes to a program that is ready to instantiate, or one line that says why not.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::Context;

use super::application::ApplicationPre;
use super::cache::{CodeCache, Entry};
use super::code_file::Mapped;
use super::compile::{self, Compiler};
use super::compiled::Compiled;
use super::imports::Linkers;
use super::kind::Pre;
use super::limits::line;
pub use super::load_error::LoadError;
use super::memory::{Beginning, IsListed, MemoryTotal, Reservation, Short};
use super::overflow_pool::OverflowPool;
use super::pool;
use super::refused::Refused;
use super::scripts::{Folders, Scripts, Tools, is_script};
use super::shared_code::{ProgramFiles, SharedCodes, key_of_state};
use super::state::State;
use super::warm::{Idle, Warm};
use super::{Kind, direct, fuse};
use crate::config::{self, Budget};
use crate::permits::{Permit, Permits};
use crate::registry::{Describe, Version};
use crate::reload::{CancelToken, Later, Load, LoadRequest, Shortage};

/// Compiles programs. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    /// Where small programs run while there is a permit. None where the system has no room for it.
    small: Option<(InstancePool, Arc<Permits>)>,
    /// Where others run while there is a permit.
    pub(super) first: InstancePool,
    first_permits: Arc<Permits>,
    /// Where those run that found no permit.
    overflow: Arc<OverflowPool>,
    /// What all instances together have of memory.
    memory: Arc<MemoryTotal>,
    cache: Option<Arc<CodeCache>>,
    shared: SharedCodes,
    scripts: Scripts,
    compiler: Compiler,
}

/// A pool of instances, and what is linked into them.
#[derive(Clone)]
pub(super) struct InstancePool {
    pub(super) engine: wasmtime::Engine,
    pub(super) linkers: Arc<Linkers>,
}

/// A handler's code: compiled, checked against the contract and linked.
#[derive(Clone)]
pub struct Program(pub(super) Arc<Code>);

/// What the clones of a program share.
pub(super) struct Code {
    kind: Kind,
    /// In the pool for small programs, if it is one.
    small: Option<(Pre, Arc<Permits>)>,
    pub(super) first: Pre,
    first_permits: Arc<Permits>,
    overflow: Arc<OverflowPool>,
    /// In the large pool, when that is there. Nothing in it: it can't be had there.
    pub(super) in_overflow: OnceLock<Option<Pre>>,
    /// Its compiled code, for each pool that it comes to.
    pub(super) files: ProgramFiles,
    /// What its instances see of the file system.
    pub(super) folders: Folders,
    #[cfg(test)]
    is_direct: bool,
    /// The names of what it imports, such as `wasi:clocks/wall-clock@0.2.6`.
    imports: Vec<String>,
    /// It is of the contract and imports what one sleeps with. Then WASI is set up before the guest
    /// runs: doing it on the guest's stack takes that to its second page, which each one that
    /// sleeps would keep.
    may_sleep: bool,
    pub(super) idle: Idle,
    /// What an instance begins with.
    beginning: Beginning,
    /// What all instances of all programs have.
    memory: Arc<MemoryTotal>,
    is_listed: IsListed,
    /// What its instances were refused.
    pub(super) refused: Refused,
}

impl Engine {
    /// An engine whose instances get what `budget` says. It compiles in processes of this very
    /// program, `wasgi`, with the limits of `compile`. Compiled code is kept in `code_cache`.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no memory for it, or can't run compiled code.
    pub fn new(
        budget: &Budget,
        compile: &compile::Options,
        code_cache: Option<config::CodeCache<'_>>,
    ) -> anyhow::Result<Self> {
        Self::with(budget, Compiler::new(compile), code_cache)
    }

    /// An engine that compiles in this process, without limits: for tests and benches, whose own
    /// program can't be a compiling process. A server must not have it.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no memory for it, or can't run compiled code.
    #[doc(hidden)]
    pub fn compiling_here(
        budget: &Budget,
        code_cache: Option<config::CodeCache<'_>>,
    ) -> anyhow::Result<Self> {
        Self::with(budget, Compiler::Here, code_cache)
    }

    fn with(
        budget: &Budget,
        compiler: Compiler,
        code_cache: Option<config::CodeCache<'_>>,
    ) -> anyhow::Result<Self> {
        // Both at once: each takes milliseconds of a start.
        let (first, small) = std::thread::scope(|scope| {
            let small = scope.spawn(|| {
                pool::small_engine(budget)
                    .map(InstancePool::new)
                    .transpose()
            });
            let first = pool::first_engine(budget)
                .map_err(anyhow::Error::from)
                .context("could not set up the WebAssembly engine")
                .and_then(InstancePool::new);
            // One that panicked is one that there is no room for.
            (first, small.join().unwrap_or(Ok(None)))
        });
        let (first, small) = (first?, small?);
        let small = small.map(|pool| (pool, Arc::new(Permits::default())));
        let cache = code_cache.and_then(|at| {
            match CodeCache::open(at.folder, at.max_bytes, &first.engine) {
                Ok(cache) => Some(Arc::new(cache)),
                Err(error) => {
                    tracing::warn!("code cache: compiled handlers are not kept: {error:#}");
                    None
                }
            }
        });
        Ok(Self {
            small,
            first,
            first_permits: Arc::new(Permits::default()),
            overflow: Arc::new(OverflowPool::new()),
            memory: Arc::new(MemoryTotal::new()),
            shared: SharedCodes::new(cache.clone()),
            scripts: Scripts::new(None),
            cache,
            compiler,
        })
    }

    /// The same engine with the runtimes for scripts in a folder.
    #[must_use]
    pub fn with_runtime(mut self, folder: Option<PathBuf>) -> Self {
        self.scripts = Scripts::new(folder);
        self
    }

    /// Limits the memory of all instances together, in bytes, from now on.
    pub fn limit_memory(&self, bytes: usize) {
        self.memory.set_limit(bytes);
    }

    /// What all instances together have of memory, in bytes, as [`Self::limit_memory`] counts it.
    pub fn memory_used(&self) -> usize {
        self.memory.used()
    }

    /// Makes room for thousands of requests at once when it is needed. A server wants it; without
    /// it, there is room for some hundreds.
    pub fn enable_overflow_pool(&self, budget: &Budget) {
        self.overflow.offer(*budget);
    }

    /// Loads what is at a path: a `.wasm` or `.wat` file, or a script.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], and for scripts when their import fails.
    pub fn load_path(&self, path: &Path, bytes: &[u8]) -> Result<Program, LoadError> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let later = Later::default();
        let request = LoadRequest {
            name: &name,
            path,
            bytes,
            version: Version::of(bytes),
            cancel: &CancelToken::new(),
            later: &later,
        };
        let program = self.load_request(&request);
        later.run();
        program
    }

    fn load_request(&self, request: &LoadRequest<'_>) -> Result<Program, LoadError> {
        if !is_script(request.path) {
            let LoadRequest { cancel, later, .. } = request;
            return self.load_version(request.bytes, request.version, cancel, Some(later));
        }
        if let Some(program) = self.kept_script(request.path, request.version) {
            return program;
        }
        let tools = Tools {
            pool: &self.first,
            compiler: &self.compiler,
            cache: self.cache.as_ref(),
            shared: &self.shared,
        };
        let files = self.scripts.load(request, &tools)?;
        let compiled = files.map(&self.first.engine).map_err(unprepared)?;
        self.link(&compiled, files, self.scripts.folders(request.path))
    }

    /// A script whose state is in the cache.
    fn kept_script(&self, path: &Path, version: Version) -> Option<Result<Program, LoadError>> {
        let cache = self.cache.as_ref()?;
        let entry = self.scripts.entry(cache, version)?;
        self.kept(Some(&(cache, entry)), self.scripts.folders(path))
    }

    /// Compiles and checks the bytes of a `.wasm` or `.wat` file.
    ///
    /// Takes as long as compiling takes, from milliseconds to many seconds: not for a reactor's
    /// thread.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are no component and can't be made one, of no [`Kind`], too large for
    /// the budget, import what the host does not have, or take more to compile than they may.
    pub fn load(&self, bytes: &[u8]) -> Result<Program, LoadError> {
        self.load_version(bytes, Version::of(bytes), &CancelToken::new(), None)
    }

    /// Loads bytes whose version is known. Stores the compiled code now, or `later`.
    fn load_version(
        &self,
        bytes: &[u8],
        version: Version,
        cancel: &CancelToken,
        later: Option<&Later>,
    ) -> Result<Program, LoadError> {
        let entry = self
            .cache
            .as_ref()
            .map(|cache| (cache, cache.entry(version)));
        if let Some(program) = self.kept(entry.as_ref(), Folders::default()) {
            return program;
        }
        let ProgramFiles { own, shared } =
            self.compiler
                .compile(&self.first, bytes, cancel, &self.shared)?;
        // From the disk, code and memory's image are pages that the kernel can drop: 100 MB of
        // them for a Python program.
        let kept = entry.and_then(|(cache, entry)| match later {
            Some(later) => cache.store_later(entry, &own, later),
            None => cache.store(&entry, &own),
        });
        let own = kept.unwrap_or(own);
        self.program(ProgramFiles { own, shared })
    }

    /// The names of the imports of a file that this host does not have. Compiles it.
    pub(super) fn missing_names(&self, bytes: &[u8]) -> Vec<String> {
        self.compiler.missing(&self.first, bytes, &self.shared)
    }

    /// A program whose compiled code is in the cache, or why it can't be run. None where it is to
    /// be compiled.
    fn kept(
        &self,
        entry: Option<&(&Arc<CodeCache>, Entry)>,
        folders: Folders,
    ) -> Option<Result<Program, LoadError>> {
        let (cache, entry) = entry?;
        let mut files = ProgramFiles::from(cache.read(entry)?);
        let mapped = files.own.map(&self.first.engine);
        if let Ok(Mapped::Module(module)) = &mapped
            && let Some(key) = key_of_state(module)
        {
            // Without its code, it is compiled again.
            files.shared = Some(self.shared.find(key)?);
        }
        match mapped.and_then(|_| files.map(&self.first.engine)) {
            Ok(compiled) => Some(self.link(&compiled, files, folders)),
            Err(error) => {
                cache.discard(entry, &format!("can't be used ({})", line(&error)));
                None
            }
        }
    }

    /// A program of compiled code.
    pub(super) fn program(&self, files: impl Into<ProgramFiles>) -> Result<Program, LoadError> {
        let files = files.into();
        let compiled = files.map(&self.first.engine).map_err(unprepared)?;
        self.link(&compiled, files, Folders::default())
    }

    /// Checks what was compiled, and has it ready in the pools.
    fn link(
        &self,
        compiled: &Compiled,
        files: ProgramFiles,
        folders: Folders,
    ) -> Result<Program, LoadError> {
        let engine = &self.first.engine;
        let kind = compiled.kind(engine).map_err(LoadError::new)?;
        let first = self.first.prepare(compiled, kind)?;
        let small = match &self.small {
            Some((pool, permits)) if kind == Kind::Gateway && pool::is_small(compiled) => {
                let compiled = files.map(&pool.engine).map_err(unprepared)?;
                Some((pool.prepare(&compiled, kind)?, permits.clone()))
            }
            _ => None,
        };
        let imports = compiled.imports(engine);
        let may_sleep =
            kind == Kind::Gateway && imports.iter().any(|name| name.starts_with("wasi:io/poll@"));
        let needed = compiled.resources_required();
        let beginning = Beginning::of(needed.as_ref(), compiled.file_bytes());
        let code = Arc::new(Code {
            kind,
            small,
            first,
            first_permits: self.first_permits.clone(),
            overflow: self.overflow.clone(),
            in_overflow: OnceLock::new(),
            imports,
            #[cfg(test)]
            is_direct: matches!(compiled, Compiled::Direct(_)),
            files,
            folders,
            may_sleep,
            idle: Idle::default(),
            beginning,
            memory: self.memory.clone(),
            is_listed: IsListed::default(),
            refused: Refused::default(),
        });
        self.overflow.expect(&code);
        Ok(Program(code))
    }

    /// Advances the epoch: guests that compute yield. Called by the ticker.
    pub(super) fn tick(&self) {
        self.first.engine.increment_epoch();
        if let Some((pool, _)) = &self.small {
            pool.engine.increment_epoch();
        }
        self.overflow.tick();
    }
}

impl InstancePool {
    pub(super) fn new(engine: wasmtime::Engine) -> anyhow::Result<Self> {
        let linkers = Linkers::new(&engine)
            .map_err(anyhow::Error::from)
            .context("could not set up the host's functions")?;
        Ok(Self {
            engine,
            linkers: Arc::new(linkers),
        })
    }

    /// Has it ready, so that an instance is made with as little work as can be.
    fn prepare(&self, compiled: &Compiled, kind: Kind) -> Result<Pre, LoadError> {
        // Now rather than at the first request, which may find the process without a descriptor.
        compiled
            .initialize_copy_on_write_image()
            .map_err(unprepared)?;
        self.link(compiled, kind)
    }

    /// Links it, and checks that it is what its kind demands.
    pub(super) fn link(&self, compiled: &Compiled, kind: Kind) -> Result<Pre, LoadError> {
        let linker = self.linkers.of(kind);
        let pre = match compiled {
            Compiled::Component(component) => linker.instantiate_pre(component),
            Compiled::InParts(parts) => {
                let mut linker = linker.clone();
                let mut root = linker.root();
                root.module(fuse::CODE, &parts.code)
                    .and_then(|()| root.module(fuse::STATE, &parts.state))
                    .and_then(|()| linker.instantiate_pre(&parts.frame))
            }
            Compiled::Direct(module) => {
                let pre = self.linkers.direct().instantiate_pre(module);
                let pre = pre.and_then(direct::Pre::new);
                let pre = pre.map(ApplicationPre::Direct).map_err(unprepared)?;
                return Ok(Pre::Application(pre));
            }
        };
        let pre = pre.map_err(|error| LoadError::new(link_error(&error, kind)))?;
        kind.prepare(pre).map_err(|error| {
            LoadError::new(format!("does not keep the contract: {}", line(&error)))
        })
    }
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn unprepared(error: wasmtime::Error) -> LoadError {
    LoadError::of_system(format!("can't be prepared: {}", line(&error)))
}

impl Code {
    /// Takes the memory that an instance begins with.
    pub(super) fn reserve(&self) -> Result<Reservation, Short> {
        MemoryTotal::reserve(&self.memory, self.beginning)
    }

    /// Has an instance wait for its next request, until it is needed or its memory is.
    pub(super) fn keep(self: &Arc<Self>, warm: Warm) {
        self.memory.list(self, &self.is_listed);
        self.idle.put(warm);
    }

    /// Where an instance is made that serves one request.
    pub(super) async fn place(&self) -> (&Pre, Option<Permit>) {
        if let Some((pre, permits)) = &self.small
            && let Some(permit) = Permits::try_acquire(permits, pool::SMALL_INSTANCES as usize)
        {
            return (pre, Some(permit));
        }
        self.place_to_stay().await
    }

    /// Where an instance is made that may stay for others: not among the small ones, whose permits
    /// are for a moment.
    pub(super) async fn place_to_stay(&self) -> (&Pre, Option<Permit>) {
        let permit = Permits::try_acquire(&self.first_permits, pool::FIRST_INSTANCES as usize);
        match &permit {
            // Before it is needed, so that nobody waits.
            Some(permit) if permit.is_among_last(pool::LAST_INSTANCES as usize) => {
                self.overflow.ask();
            }
            Some(_) => {}
            None => {
                if let Some(overflow) = self.overflow.join(self).await {
                    return (overflow, None);
                }
            }
        }
        (&self.first, permit)
    }

    /// Readies what a request will need, where the host's stack has room for it.
    pub(super) fn prepare(&self, state: &mut State) {
        if self.may_sleep {
            state.set_up_wasi(|_| {});
        }
    }

    /// Makes the program ready in the large pool.
    pub(super) fn prepare_in_overflow(&self, pool: &InstancePool) {
        let compiled = self.files.map(&pool.engine).map_err(unprepared);
        match compiled.and_then(|compiled| pool.prepare(&compiled, self.kind)) {
            Ok(pre) => drop(self.in_overflow.set(Some(pre))),
            Err(error) => {
                tracing::warn!("a handler has less room than it might: it {error}");
                drop(self.in_overflow.set(None));
            }
        }
    }
}

impl Program {
    /// Which sort of handler it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Whether it is called directly: nobody but tests can tell.
    #[cfg(test)]
    pub(super) fn is_direct(&self) -> bool {
        self.0.is_direct
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Load for Engine {
    type Program = Program;

    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Program> {
        self.load_request(request)
            .map_err(|error| match error.is_shortage() {
                true => Shortage::new(error.to_string()).into(),
                false => error.into(),
            })
    }

    fn recall(&self, path: &Path, version: Version) -> Option<Program> {
        if is_script(path) {
            return self.kept_script(path, version)?.ok();
        }
        let cache = self.cache.as_ref()?;
        // What can't be run says so when it is loaded from its bytes.
        let entry = cache.entry(version);
        self.kept(Some(&(cache, entry)), Folders::default())?.ok()
    }

    fn turn(&self, version: Version, cancel: &CancelToken) -> impl Sized {
        let cache = self.cache.as_ref()?;
        cache.turn(&cache.entry(version), cancel)
    }
}

impl Describe for Program {
    fn kind(&self) -> &str {
        Program::kind(self).as_str()
    }

    fn imports(&self) -> Vec<String> {
        let own = Program::kind(self).own_imports();
        let beyond = |name: &&String| !name.starts_with(own);
        self.0.imports.iter().filter(beyond).cloned().collect()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("kind", &Program::kind(self))
            .field("imports", &self.0.imports)
            .field("idle", &self.0.idle)
            .finish_non_exhaustive()
    }
}

/// A missing import, in words for someone who has never seen a linker.
fn link_error(error: &wasmtime::Error, kind: Kind) -> String {
    let cause = line(error);
    let offer = match kind {
        Kind::Gateway | Kind::Command => "wasgi:gateway@0.1.0 and WASI 0.2 without wasi:http",
        Kind::WasiHttp => "WASI 0.2, wasi:http included",
    };
    match cause.split('`').nth(1) {
        Some(import) => format!(
            "needs {import}, which this server does not offer: a {kind} handler has {offer} \
             ({cause})"
        ),
        None => format!("can't be linked: {cause}"),
    }
}
