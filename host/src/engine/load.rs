//! Loads a file's bytes into a program that is ready to instantiate, or returns a one-line error.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::Context;

use super::HandlerKind;
use super::cache::{CacheFolder, CodeCache, Entry};
use super::call::refusals::{Refused, Thing};
use super::code_file::Mapped;
use super::compile::{self, Compiler};
use super::compiled::Compiled;
use super::error::LoadError;
use super::limits::line;
use super::lines::LineFinder;
use super::pools::instances::InstancePool;
use super::pools::memory::{Beginning, IsListed, MemoryTotal, ProgramMemory};
use super::pools::overflow::OverflowPool;
use super::pools::settings::{self, Effort};
use super::pools::warm::Idle;
use super::program::{Code, Program};
use super::scripts::folders::Folders;
use super::scripts::tools::Tools;
use super::scripts::{Build, Scripts, is_script};
use super::shared_code::{ProgramFiles, SharedCodes, key_of_state};
use super::worlds::missing::Missing;
use crate::metrics::{LoadStep, LoadSteps};
use crate::permits::Permits;
use crate::policy::{Budget, Policies};
use crate::registry::Version;
use crate::reload::{self, CancelToken, Later, Load, LoadRequest, Shortage};
use crate::state::Store;

/// A pool, and the permits for its instances.
type LimitedPool = (InstancePool, Arc<Permits>);

/// Compiles programs. Clones share the engine.
#[derive(Clone)]
pub struct Engine {
    /// The pool for small programs while it has a permit. `None` if the system has no memory for
    /// it.
    small: Option<LimitedPool>,
    /// The pool for other programs while it has a permit.
    pub(super) first: InstancePool,
    first_permits: Arc<Permits>,
    /// The same for large programs, created for the first of them. `None` in the cell if the system
    /// has no memory for it.
    large: Arc<OnceLock<Option<LimitedPool>>>,
    budget: Budget,
    /// The pool for instances that found no permit.
    overflow: Arc<OverflowPool>,
    /// The memory of all instances together.
    memory: Arc<MemoryTotal>,
    cache: Option<Arc<CodeCache>>,
    shared: SharedCodes,
    scripts: Scripts,
    compiler: Compiler,
    store: Option<Store>,
    lines: Option<LineFinder>,
}

impl Engine {
    /// Creates an engine whose instances have the limits in `budget`. It compiles in processes of
    /// this program, `wasgi`, with the limits in `compile`. Stores compiled code in `code_cache`.
    ///
    /// # Errors
    ///
    /// Fails if the system has no memory for it, or can't run compiled code.
    pub fn new(
        budget: &Budget,
        compile: &compile::CompileOptions,
        code_cache: Option<CacheFolder<'_>>,
    ) -> anyhow::Result<Self> {
        Self::with(budget, Compiler::new(compile), code_cache)
    }

    /// Creates an engine that compiles in this process, without limits: for tests and benches,
    /// whose programs can't be compiling processes. A server must not use it.
    ///
    /// # Errors
    ///
    /// Fails if the system has no memory for it, or can't run compiled code.
    #[doc(hidden)]
    pub fn compiling_here(
        budget: &Budget,
        code_cache: Option<CacheFolder<'_>>,
    ) -> anyhow::Result<Self> {
        Self::with(budget, Compiler::Here, code_cache)
    }

    fn with(
        budget: &Budget,
        compiler: Compiler,
        code_cache: Option<CacheFolder<'_>>,
    ) -> anyhow::Result<Self> {
        // Concurrently: each takes milliseconds of the startup.
        let (first, small) = std::thread::scope(|scope| {
            let small = scope.spawn(|| {
                settings::small_engine(budget)
                    .map(InstancePool::new)
                    .transpose()
            });
            let first = settings::first_engine(budget)
                .map_err(anyhow::Error::from)
                .context("could not set up the WebAssembly engine")
                .and_then(InstancePool::new);
            // A panic counts as a lack of memory.
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
            large: Arc::default(),
            budget: *budget,
            overflow: Arc::new(OverflowPool::new()),
            memory: Arc::new(MemoryTotal::new()),
            shared: SharedCodes::new(cache.clone()),
            scripts: Scripts::new(None),
            cache,
            compiler,
            store: None,
            lines: None,
        })
    }

    /// Sets the folder with the runtimes for scripts.
    #[must_use]
    pub fn with_runtime(mut self, folder: Option<&Path>) -> Self {
        self.scripts = Scripts::new(folder);
        self
    }

    /// Sets the store of key-value buckets. Without one, handlers can't open a bucket.
    #[must_use]
    pub fn with_store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Adds lines of the source to the stacks of guests that trap: for developers. Files in
    /// `handlers`, the folder of handlers, are named relative to it.
    #[must_use]
    pub fn with_lines(mut self, handlers: &Path) -> Self {
        self.lines = Some(LineFinder::new(handlers));
        self
    }

    /// Compiles handlers quickly, with the limits in `compile`, to code that is not optimised,
    /// unless optimised code of the same version is in the cache: for developers. Interpreters are
    /// optimised nevertheless.
    #[must_use]
    pub fn with_quick_compiling(mut self, compile: &compile::CompileOptions) -> Self {
        self.compiler = self.compiler.quick(compile);
        self
    }

    /// Enables layers: the packages of a script are imported once, in the background, for its later
    /// loads. For servers; not worthwhile for a single load.
    #[must_use]
    pub fn with_layers(mut self) -> Self {
        self.scripts.enable_layers();
        self
    }

    /// Limits the memory of all instances together, in bytes, from now on.
    pub fn limit_memory(&self, bytes: usize) {
        self.memory.set_limit(bytes);
    }

    /// Returns the memory of all instances together, in bytes, as [`Self::limit_memory`] counts it.
    pub fn memory_used(&self) -> usize {
        self.memory.used()
    }

    /// Allows thousands of concurrent requests, with a pool that is created on demand. A server
    /// needs it; without it, some hundreds are possible.
    pub fn enable_overflow_pool(&self, budget: &Budget) {
        self.overflow.offer(*budget);
    }

    /// Sets what handlers may use: the variables that are granted to a script are visible while it
    /// is loaded.
    pub fn set_policies(&self, policies: Policies) {
        self.scripts.set_policies(policies);
    }

    /// Returns this engine, with others of what handlers may use: see [`Self::set_policies`]. The
    /// policies of this one don't change.
    #[must_use]
    pub(crate) fn with_policies(&self, policies: Policies) -> Self {
        Self {
            scripts: self.scripts.with_policies(policies),
            ..self.clone()
        }
    }

    /// Loads the file or folder of the handler called `name`: a `.wasm` or `.wat` file, or a
    /// script.
    ///
    /// # Errors
    ///
    /// Fails like [`Self::load`], and for scripts if their import fails.
    pub fn load_path(&self, name: &str, path: &Path, bytes: &[u8]) -> Result<Program, LoadError> {
        let later = Later::default();
        let version = self.version(name, path, Version::from_content(bytes));
        let is_unchanged = || {
            let manifest = path.is_dir().then(|| reload::manifest(path));
            let content = manifest.map_or(Ok(Version::from_content(bytes)), |manifest| {
                manifest.map(|manifest| Version::from_content(&manifest))
            });
            content.is_ok_and(|content| self.version(name, path, content) == version)
        };
        let request = LoadRequest {
            name,
            path,
            bytes,
            version,
            cancel: &CancelToken::new(),
            later: &later,
            steps: &LoadSteps::new(),
            is_unchanged: &is_unchanged,
        };
        let program = self.load_request(&request);
        later.run();
        program
    }

    fn load_request(&self, request: &LoadRequest<'_>) -> Result<Program, LoadError> {
        if !is_script(request.path) {
            let LoadRequest {
                name,
                bytes,
                version,
                cancel,
                later,
                steps,
                ..
            } = request;
            let later = Some(*later);
            let program = self.load_version(name, bytes, *version, cancel, steps, later)?;
            return Ok(self.with_lines_of(program, request.path, *version));
        }
        if let Some(program) = self.kept_script(request.path, request.version) {
            request.steps.begin(LoadStep::Link);
            return program;
        }
        request.steps.begin(LoadStep::Import);
        let files = self.scripts.load(request, &self.tools())?;
        request.steps.begin(LoadStep::Link);
        let placed = self.place(&files).map_err(LoadError::unprepared)?;
        self.link(placed, files, self.scripts.folders(request.path))
    }

    /// Builds a portable component from a script: a `.wasm` file that needs neither a runtime nor
    /// the script's folder. Also returns the application's output. With `is_release`, requests to
    /// the component cost as little as those to the served script.
    ///
    /// # Errors
    ///
    /// Fails if there is no usable runtime, or the application can't be imported.
    pub fn build(
        &self,
        name: &str,
        path: &Path,
        bytes: &[u8],
        is_release: bool,
    ) -> Result<(Vec<u8>, String), LoadError> {
        let request = LoadRequest {
            name,
            path,
            bytes,
            version: Version::from_content(bytes),
            cancel: &CancelToken::new(),
            later: &Later::default(),
            steps: &LoadSteps::new(),
            is_unchanged: &|| true,
        };
        let build = Build {
            release: is_release,
        };
        let built = self.scripts.build(&request, build, &self.tools())?;
        Ok((built.component, built.said))
    }

    fn tools(&self) -> Tools<'_> {
        Tools {
            pool: &self.first,
            compiler: &self.compiler,
            cache: self.cache.as_ref(),
            shared: &self.shared,
        }
    }

    /// Loads a script whose state is in the cache.
    fn kept_script(&self, path: &Path, version: Version) -> Option<Result<Program, LoadError>> {
        let cache = self.cache.as_ref()?;
        let entry = self.scripts.entry(cache, path, version)?;
        self.kept(cache, entry, self.scripts.folders(path))
    }

    /// Compiles and checks the bytes of a `.wasm` or `.wat` file.
    ///
    /// Blocks as long as compiling takes, from milliseconds to many seconds: not for a reactor's
    /// thread.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not a component and can't be converted to one, are of no
    /// [`HandlerKind`], are too large for the budget, import functions that the host doesn't have,
    /// or exceed a limit of compilation.
    pub fn load(&self, bytes: &[u8]) -> Result<Program, LoadError> {
        self.load_version(
            "",
            bytes,
            Version::from_content(bytes),
            &CancelToken::new(),
            &LoadSteps::new(),
            None,
        )
    }

    /// Loads bytes whose version is known. Stores the compiled code now, or `later`.
    fn load_version(
        &self,
        name: &str,
        bytes: &[u8],
        version: Version,
        cancel: &CancelToken,
        steps: &LoadSteps,
        later: Option<&Later>,
    ) -> Result<Program, LoadError> {
        if let Some(program) = self.kept_version(version) {
            steps.begin(LoadStep::Link);
            return program;
        }
        let entry = self.cache.as_ref().map(|cache| {
            let entry = match self.compiler.effort() {
                Effort::Full => cache.entry(version),
                Effort::Quick => cache.quick_entry(version),
            };
            (cache, entry)
        });
        steps.begin(LoadStep::Compile);
        let files = self
            .compiler
            .compile(&self.first, name, bytes, cancel, &self.shared)?;
        steps.begin(LoadStep::Link);
        // The pool rejects some code, such as that with two memories: it is not worth storing.
        self.place(&files).map_err(LoadError::unprepared)?;
        let ProgramFiles { own, shared } = files;
        // From the disk, code and memory image are pages that the kernel can evict: 100 MB of them
        // for a Python program.
        let kept = entry.and_then(|(cache, entry)| match later {
            Some(later) => cache.store_later(entry, &own, later),
            None => cache.store(&entry, &own),
        });
        let own = kept.unwrap_or(own);
        self.program(ProgramFiles { own, shared })
    }

    /// Returns every import of a component that this host doesn't have. Empty if the bytes are not
    /// a component.
    ///
    /// Compiles the component, so it takes as long as [`Engine::load`]: for files that did not
    /// load.
    pub fn missing(&self, bytes: &[u8]) -> Vec<Missing> {
        let names = self.compiler.missing(&self.first, bytes, &self.shared);
        names.iter().map(|name| Missing::new(name)).collect()
    }

    /// Returns the program of a file of this version if its compiled code is in the cache: code
    /// that was compiled quickly only if this engine compiles so.
    fn kept_version(&self, version: Version) -> Option<Result<Program, LoadError>> {
        let cache = self.cache.as_ref()?;
        let kept = |entry| self.kept(cache, entry, Folders::default());
        kept(cache.entry(version)).or_else(|| {
            let is_quick = self.compiler.effort() == Effort::Quick;
            kept(is_quick.then(|| cache.quick_entry(version))?)
        })
    }

    /// Returns a program whose compiled code is in the cache, or why it can't run. `None` if it
    /// must be compiled.
    fn kept(
        &self,
        cache: &Arc<CodeCache>,
        entry: Entry,
        folders: Folders,
    ) -> Option<Result<Program, LoadError>> {
        let turn = cache.turn_to_read(&entry);
        let mut files = ProgramFiles::from(cache.read(&entry)?);
        let mapped = files.own.map(&self.first.engine);
        if let Ok(Mapped::Module(module)) = &mapped
            && let Some(key) = key_of_state(module)
        {
            // Without its code, it is compiled again.
            files.shared = Some(self.shared.find(key)?);
        }
        drop(turn);
        match mapped.and_then(|_| self.place(&files)) {
            Ok(placed) => Some(self.link(placed, files, folders)),
            Err(error) => {
                cache.discard(&entry, &format!("can't be used ({})", line(&error)));
                None
            }
        }
    }

    /// Returns a program of compiled code.
    pub(super) fn program(&self, files: impl Into<ProgramFiles>) -> Result<Program, LoadError> {
        let files = files.into();
        let placed = self.place(&files).map_err(LoadError::unprepared)?;
        self.link(placed, files, Folders::default())
    }

    /// Maps compiled code into the pool for programs of its size that are not small.
    ///
    /// # Errors
    ///
    /// Fails as [`ProgramFiles::map`] does.
    fn place(&self, files: &ProgramFiles) -> wasmtime::Result<Placed<'_>> {
        let first = (&self.first, &self.first_permits);
        if files.shared.is_none() {
            let compiled = files.map(&self.first.engine)?;
            if !settings::is_large(&compiled) {
                return Ok(Placed {
                    pool: first,
                    compiled,
                });
            }
        }
        let large = self.large.get_or_init(|| {
            let pool = settings::large_engine(&self.budget)
                .map_err(anyhow::Error::from)
                .and_then(InstancePool::new);
            if let Err(error) = &pool {
                tracing::warn!("no pool for large programs, whose stacks are small: {error:#}");
            }
            Some((pool.ok()?, Arc::default()))
        });
        let pool = large
            .as_ref()
            .map_or(first, |(pool, permits)| (pool, permits));
        let compiled = files.map(&pool.0.engine)?;
        Ok(Placed { pool, compiled })
    }

    /// Checks compiled code and prepares it in the pools.
    fn link(
        &self,
        placed: Placed<'_>,
        files: ProgramFiles,
        folders: Folders,
    ) -> Result<Program, LoadError> {
        let Placed {
            pool: (pool, permits),
            compiled,
        } = placed;
        let compiled = &compiled;
        let engine = &pool.engine;
        let kind = compiled.kind(engine).map_err(LoadError::new)?;
        let first = pool.prepare(compiled, kind)?;
        let small = match &self.small {
            Some((pool, permits))
                if kind == HandlerKind::Gateway && settings::is_small(compiled) =>
            {
                let compiled = files.map(&pool.engine).map_err(LoadError::unprepared)?;
                Some((pool.prepare(&compiled, kind)?, permits.clone()))
            }
            _ => None,
        };
        let imports = compiled.imports(engine);
        let may_sleep = kind == HandlerKind::Gateway
            && imports.iter().any(|name| name.starts_with("wasi:io/poll@"));
        let needed = compiled.resources_required();
        let beginning = Beginning::new(needed.as_ref(), compiled.file_bytes());
        let refused = Refused::default();
        let folders = match compiled.needs_files() {
            true => folders,
            false => {
                // Its interpreter looks for them before those in its memory.
                refused.is_news(Thing::Files);
                Folders::default()
            }
        };
        if files.shared.is_some() {
            // An interpreter requests variables in each instance, whether its program uses them or
            // not.
            refused.is_news(Thing::Variables);
        }
        let code = Arc::new(Code {
            kind,
            small,
            first,
            first_permits: permits.clone(),
            overflow: self.overflow.clone(),
            in_overflow: self.overflow.expect(kind, files),
            imports,
            #[cfg(test)]
            is_direct: matches!(compiled, Compiled::Direct(_)),
            folders,
            may_sleep,
            idle: Idle::default(),
            beginning,
            memory: ProgramMemory::new(self.memory.clone()),
            is_listed: IsListed::default(),
            store: self.store.clone(),
            refused,
            lines: None,
        });
        Ok(Program(code))
    }

    /// Has the lines of a program looked up, if that is enabled.
    fn with_lines_of(&self, mut program: Program, path: &Path, version: Version) -> Program {
        // The program is new: nothing else has it.
        if let (Some(finder), Some(code)) = (&self.lines, Arc::get_mut(&mut program.0)) {
            code.lines = Some(finder.of_program(&self.compiler, &self.shared, path, version));
        }
        program
    }

    /// Advances the epoch: computing guests yield. Called by the ticker.
    pub(super) fn tick(&self) {
        self.first.engine.increment_epoch();
        let large = self.large.get().and_then(Option::as_ref);
        for (pool, _) in self.small.iter().chain(large) {
            pool.engine.increment_epoch();
        }
        self.overflow.tick();
    }
}

/// Compiled code, mapped into the pool for it.
struct Placed<'e> {
    pool: (&'e InstancePool, &'e Arc<Permits>),
    compiled: Compiled,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Load for Engine {
    type Program = Program;

    fn load(&self, request: &LoadRequest<'_>) -> anyhow::Result<Program> {
        self.load_request(request).map_err(|error| match error {
            LoadError::Shortage(_, line) => Shortage::new(line).into(),
            error => error.into(),
        })
    }

    /// A script is loaded with the variables that are granted to it.
    fn version(&self, name: &str, path: &Path, content: Version) -> Version {
        match is_script(path) {
            true => self.scripts.version(name, path, content),
            false => content,
        }
    }

    fn recall(&self, path: &Path, version: Version) -> Option<Program> {
        if is_script(path) {
            return self.kept_script(path, version)?.ok();
        }
        // A program that can't run reports this when it is loaded from its bytes.
        let program = self.kept_version(version)?.ok()?;
        Some(self.with_lines_of(program, path, version))
    }

    fn replaced(&self, served: &Program, next: &Program) {
        next.0.refused.continue_with(&served.0.refused);
    }

    fn turn(&self, version: Version, cancel: &CancelToken) -> impl Sized {
        let cache = self.cache.as_ref()?;
        cache.turn(&cache.entry(version), cancel)
    }
}
