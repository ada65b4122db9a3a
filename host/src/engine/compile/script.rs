//! Loads a script: starts an interpreter, lets it import the application or its packages, and takes
//! a snapshot. Runs in a compiling process that can only read the script's folders.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::Deserialize;
use wasm_encoder::ValType;
use wasmtime::component::{Component, Linker, ResourceTable, ResourceType, WasmList};
use wasmtime::{Engine, Module, Store, StoreContextMut, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::super::code_file::{CodeFile, Mapped};
use super::super::compiled::NO_FILES;
use super::super::error::LoadError;
use super::super::fuse;
use super::super::limits::line;
use super::super::pools::settings;
use super::super::worlds::network::{self, DeniedHttp};
use super::immortal::{Census, immortalize};
use super::script_job::ScriptJob;

/// The maximum linear memory of an interpreter while it loads an application, in bytes: twice the
/// default of an instance.
const MEMORY_BYTES: usize = 256 << 20;

/// The maximum output of an application to its standard output and error while it is loaded, in
/// bytes. Writing more fails.
const OUTPUT_BYTES: usize = 256 << 10;

/// The maximum amount of that output in a message, in bytes.
const SHOWN_BYTES: usize = 2048;

/// The parameters of a script's load.
pub(super) struct Script {
    /// The plan for the interpreter, in JSON.
    pub(super) plan: Vec<u8>,
    /// The interpreter's code, its loader, and its state.
    pub(super) parts: [CodeFile; 3],
    /// The mark of the code that the new state belongs to.
    pub(super) mark: String,
    /// The interpreter's component, to write a portable component.
    pub(super) portable: Option<Vec<u8>>,
    /// The folders that are visible to the interpreter, each with its name in the sandbox.
    pub(super) folders: Vec<(PathBuf, String)>,
}

/// The result of a load.
pub(super) struct Outcome {
    /// The compiled state, or the portable component.
    pub(super) state: Vec<u8>,
    /// The application's output.
    pub(super) said: String,
    /// The modules that a layer should have.
    pub(super) modules: Vec<String>,
}

/// The names of a script's folders in the sandbox.
pub(in crate::engine) const GUEST_LIBRARY: &str = "/python";
pub(in crate::engine) const GUEST_APPLICATION: &str = "/app";
pub(in crate::engine) const GUEST_PACKAGES: &str = "/packages";

/// The interpreter's report on its load.
#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    #[serde(default)]
    details: String,
    #[serde(default)]
    modules: Vec<String>,
    /// Whether requests may read the application's folders.
    needs_files: Option<bool>,
    /// The objects of Python.
    census: Option<Census>,
}

/// The data of the store.
struct Context {
    wasi: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    denied: DeniedHttp,
    limits: StoreLimits,
    memory: Vec<u8>,
    globals: Vec<(u32, u64)>,
}

impl Script {
    /// Extracts the parts of a job. Also returns the file for the names of the modules.
    pub(super) fn new(
        plan: &[u8],
        mut parts: Vec<OwnedFd>,
        folders: Vec<(PathBuf, String)>,
    ) -> Result<(Self, OwnedFd), String> {
        let portable = (parts.len() == 6).then(|| parts.pop()).flatten();
        let Ok([code, loader, state, mark, modules]) = <[OwnedFd; 5]>::try_from(parts) else {
            return Err("the server sent no interpreter".into());
        };
        let unreadable = |error| format!("the server's message can't be read: {error}");
        let mark = content(mark).map_err(unreadable)?;
        let mark = String::from_utf8_lossy(&mark).into_owned();
        let script = Self {
            plan: plan.to_vec(),
            parts: [code, loader, state].map(|file| CodeFile::written(file.into())),
            mark,
            portable: portable.map(content).transpose().map_err(unreadable)?,
            folders,
        };
        Ok((script, modules))
    }

    /// Creates the script of a job, to be loaded in this process.
    pub(super) fn from_job(job: &ScriptJob<'_>) -> Self {
        let folders = job.folders.iter();
        Self {
            plan: job.plan.to_vec(),
            parts: job.parts.map(CodeFile::clone),
            mark: job.mark.to_owned(),
            portable: None,
            folders: folders
                .map(|(path, name)| (path.clone(), (*name).to_owned()))
                .collect(),
        }
    }

    /// Loads the script.
    ///
    /// # Errors
    ///
    /// Fails if the application can't be loaded: one line.
    pub(super) fn load(&self, engine: &Engine) -> Result<Outcome, LoadError> {
        let output = MemoryOutputPipe::new(OUTPUT_BYTES);
        let loaded = self.run(engine, &output).map_err(|error| {
            let said = String::from_utf8_lossy(&output.contents()).into_owned();
            let said = said.trim();
            let behind = match said.is_empty() {
                true => String::new(),
                false => format!("; it wrote: {}", crate::printable::front(said, SHOWN_BYTES)),
            };
            let text = format!("not loaded: {}{behind}", line(&error));
            LoadError::of_wasmtime(text, &error)
        })?;
        let needs_files = loaded.needs_files && self.portable.is_none();
        let names: &[&str] = if needs_files { &[] } else { &[NO_FILES] };
        let state = fuse::snapshot(&self.mark, names, &loaded.memory, &loaded.globals)
            .map_err(|refusal| LoadError::new(refusal.to_string()))?;
        let Loaded {
            modules,
            unexpected,
            ..
        } = loaded;
        let state = match &self.portable {
            Some(runtime) => fuse::runtime(runtime)
                .map_err(|refusal| LoadError::new(refusal.to_string()))?
                .apart
                .portable(&state),
            None => settings::compiling_engine(engine, &state, settings::Effort::Full)
                .and_then(|engine| engine.precompile_module(&state))
                .map_err(|error| {
                    LoadError::of_wasmtime(format!("can't be stored: {}", line(&error)), &error)
                })?,
        };
        let mut said = String::from_utf8_lossy(&output.contents()).into_owned();
        if let Some(reason) = unexpected {
            said = format!("{said}\na request will copy more memory than it has to: {reason}");
        }
        Ok(Outcome {
            state,
            said,
            modules,
        })
    }

    fn run(&self, engine: &Engine, output: &MemoryOutputPipe) -> wasmtime::Result<Loaded> {
        let [code, loader, state] = &self.parts;
        let (code, loader, state) = (
            module(code.map(engine)?)?,
            component(loader.map(engine)?)?,
            module(state.map(engine)?)?,
        );
        let types = types(&state);
        let mut linker: Linker<Context> = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        network::add_denied_http_to_linker(&mut linker)?;
        linker.root().module(fuse::CODE, &code)?;
        linker.root().module(fuse::STATE, &state)?;
        let keep_memory = |mut store: StoreContextMut<'_, Context>, (list,): (WasmList<u8>,)| {
            let bytes = list.as_le_slice(&store).to_vec();
            store.data_mut().memory = bytes;
            Ok(())
        };
        linker.root().func_wrap(fuse::MEMORY, keep_memory)?;
        let keep_global = |mut store: StoreContextMut<'_, Context>, global: (u32, u64)| {
            store.data_mut().globals.push(global);
            Ok(())
        };
        linker.root().func_wrap(fuse::GLOBAL, keep_global)?;
        gateway(&mut linker)?;
        key_value(&mut linker)?;
        let mut store = Store::new(engine, self.context(output)?);
        store.limiter(|context| &mut context.limits);
        store.set_epoch_deadline(u64::MAX >> 1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let answer = runtime.block_on(async {
            let instance = linker.instantiate_async(&mut store, &loader).await?;
            let load = instance.get_typed_func::<(&str,), (String,)>(&mut store, "load")?;
            let plan = std::str::from_utf8(&self.plan)?;
            let (answer,) = load.call_async(&mut store, (plan,)).await?;
            let answer: Answer = serde_json::from_str(&answer)?;
            if let Some(error) = answer.error {
                return Err(wasmtime::Error::msg(with_details(&error, &answer.details)));
            }
            let capture = instance.get_typed_func::<(), ()>(&mut store, fuse::CAPTURE)?;
            capture.call_async(&mut store, ()).await?;
            Ok(answer)
        })?;
        let Context {
            mut memory,
            globals,
            ..
        } = store.into_data();
        let unexpected = match &answer.census {
            Some(census) => immortalize(&mut memory, census).err(),
            None => None,
        };
        let globals = types.into_iter().map(|(index, ty)| {
            let value = globals.iter().find(|(of, _)| *of == index);
            let (_, bits) = value.ok_or(wasmtime::Error::msg("a global has no value"))?;
            Ok((index, ty, *bits))
        });
        Ok(Loaded {
            memory,
            globals: globals.collect::<wasmtime::Result<_>>()?,
            modules: answer.modules,
            needs_files: answer.needs_files.unwrap_or(true),
            unexpected,
        })
    }

    fn context(&self, output: &MemoryOutputPipe) -> wasmtime::Result<Context> {
        let mut wasi = WasiCtxBuilder::new();
        wasi.stdout(output.clone())
            .stderr(output.clone())
            .allow_blocking_current_thread(true)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        for (folder, name) in &self.folders {
            wasi.preopened_dir(folder, name, FsPerms::ReadOnly)?;
        }
        Ok(Context {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            denied: DeniedHttp,
            limits: StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build(),
            memory: Vec::new(),
            globals: Vec::new(),
        })
    }
}

/// Reads a file that the server sent.
fn content(file: OwnedFd) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::from(file);
    let mut content = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut content)?;
    Ok(content)
}

/// Defines the gateway outside a request: every call of it traps.
fn gateway(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    const FUNCTIONS: [&str; 7] = [
        "[method]environ.get",
        "[method]environ.variables",
        "[method]environ.read",
        "[method]environ.write-errors",
        "[method]start-response.call",
        "[method]start-response.write",
        "panicked",
    ];
    let resources = ["environ", "start-response"];
    trapping(linker, fuse::GATEWAY, &resources, &FUNCTIONS)
}

/// Defines key-value buckets outside a request: every call of them traps. The runtimes raise an
/// exception instead.
fn key_value(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    const STORE: [&str; 6] = [
        "open",
        "[method]bucket.get",
        "[method]bucket.set",
        "[method]bucket.delete",
        "[method]bucket.exists",
        "[method]bucket.list-keys",
    ];
    const ATOMICS: [&str; 4] = [
        "[static]cas.new",
        "[method]cas.current",
        "increment",
        "swap",
    ];
    const BATCH: [&str; 3] = ["get-many", "set-many", "delete-many"];
    let name = |interface| format!("wasi:keyvalue/{interface}@0.2.0-draft2");
    trapping(linker, &name("store"), &["bucket"], &STORE)?;
    trapping(linker, &name("atomics"), &["cas"], &ATOMICS)?;
    trapping(linker, &name("batch"), &[], &BATCH)
}

/// Defines an interface of which every call traps.
fn trapping(
    linker: &mut Linker<Context>,
    interface: &str,
    resources: &[&str],
    functions: &[&str],
) -> wasmtime::Result<()> {
    let mut instance = linker.instance(interface)?;
    for name in resources {
        instance.resource(name, ResourceType::host::<()>(), |_, _| Ok(()))?;
    }
    for name in functions {
        instance.func_new(name, |_, _, _, _| {
            Err(wasmtime::Error::msg(
                "no request exists while a script is loaded",
            ))
        })?;
    }
    Ok(())
}

/// An interpreter with a loaded application.
struct Loaded {
    memory: Vec<u8>,
    globals: Vec<(u32, ValType, u64)>,
    modules: Vec<String>,
    needs_files: bool,
    /// Why its objects are not immortal.
    unexpected: Option<&'static str>,
}

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Context {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.denied,
        }
    }
}

/// Formats an error in one line, followed by the application's stack frames.
fn with_details(error: &str, details: &str) -> String {
    // The last are JavaScript's, whose runtime leaves out its own.
    const OWN: [&str; 3] = ["File \"/app/", "File \"/packages/", "at "];
    let is_own = |line: &&str| OWN.iter().any(|front| line.starts_with(front));
    let places: Vec<_> = details.lines().map(str::trim).filter(is_own).collect();
    match places.len() {
        // The error line already contains it.
        0 | 1 => error.to_owned(),
        _ => format!("{error} [{}]", places.join("; ")),
    }
}

/// Returns the types of a state's globals by their numbers.
fn types(state: &Module) -> Vec<(u32, ValType)> {
    let of = |ty: &wasmtime::ValType| match ty {
        wasmtime::ValType::I64 => ValType::I64,
        wasmtime::ValType::F32 => ValType::F32,
        wasmtime::ValType::F64 => ValType::F64,
        _ => ValType::I32,
    };
    state
        .exports()
        .filter_map(|export| {
            let number = export.name().strip_prefix(fuse::GLOBAL_PREFIX)?;
            let ty = export.ty();
            Some((number.parse().ok()?, of(ty.global()?.content())))
        })
        .collect()
}

fn module(mapped: Mapped) -> wasmtime::Result<Module> {
    match mapped {
        Mapped::Module(module) => Ok(module),
        Mapped::Component(_) => Err(wasmtime::Error::msg("a part is not a module")),
    }
}

fn component(mapped: Mapped) -> wasmtime::Result<Component> {
    match mapped {
        Mapped::Component(component) => Ok(component),
        Mapped::Module(_) => Err(wasmtime::Error::msg("a part is not a component")),
    }
}
