//! From a file's bytes to a program that is ready to instantiate, or one line that says why not.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use super::cache::{self, CodeCache};
use super::imports::Linkers;
use super::kind::{self, Pre};
use super::pool::{self, Size};
use super::warm::Idle;
use super::{Kind, componentize};
use crate::config::Budget;
use crate::registry::Describe;
use crate::reload::Load;

/// Compiles programs. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    small: Room,
    pub(super) any: Room,
    cache: Option<Arc<CodeCache>>,
}

/// Where programs of one size live.
#[derive(Clone)]
pub(super) struct Room {
    pub(super) engine: wasmtime::Engine,
    pub(super) linkers: Arc<Linkers>,
}

/// A handler's code: compiled, checked against the contract and linked.
#[derive(Clone)]
pub struct Program(pub(super) Arc<Code>);

/// What the clones of a program share.
pub(super) struct Code {
    pub(super) pre: Pre,
    /// The names of what it imports, such as `wasi:clocks/wall-clock@0.2.6`.
    imports: Vec<String>,
    pub(super) idle: Idle,
}

/// Why a file is no program that can be run: one line for the person who made it, which says
/// what to do.
#[derive(Debug)]
pub struct LoadError(String);

impl Engine {
    /// An engine whose instances get what `budget` says. Compiled code is kept in `code_cache`.
    ///
    /// # Errors
    ///
    /// Fails when the system gives no memory for it, or can't run compiled code.
    pub fn new(budget: &Budget, code_cache: Option<&Path>) -> anyhow::Result<Self> {
        let [small, any] = [Size::Small, Size::Any].map(|size| Room::new(budget, size));
        let (small, any) = (small?, any?);
        let cache = code_cache.and_then(|folder| match CodeCache::open(folder, &any.engine) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!("compiled handlers are not kept: {error:#}");
                None
            }
        });
        Ok(Self { small, any, cache })
    }

    /// Compiles and checks the bytes of a `.wasm` or `.wat` file.
    ///
    /// Takes as long as compiling takes, from milliseconds to many seconds, on all cores: not for
    /// a reactor's thread.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are no component and can't be made one, of no [`Kind`], too large for
    /// the budget, or import what the host does not have.
    pub fn load(&self, bytes: &[u8]) -> Result<Program, LoadError> {
        let layer = Layer::of(bytes)?;
        let compile = |engine: &_, bytes: &_| match layer {
            Layer::Component => compile(engine, bytes),
            Layer::Module => compile(engine, &componentize::module(bytes).map_err(LoadError)?),
        };
        let load = |room: &Room, compile: &dyn Fn(&_, &_) -> _| match &self.cache {
            Some(cache) => cache.load(&room.engine, bytes, compile),
            None => compile(&room.engine, bytes),
        };
        // Most are. What a program needs is known when it is compiled.
        let mut room = &self.small;
        let mut component = load(room, &compile)?;
        if Size::of(&component) == Size::Any {
            room = &self.any;
            // The same code, from the cache or as it is in memory.
            component = load(room, &|engine, _: &_| {
                cache::adopt(engine, &component)
                    .map_err(|error| LoadError(format!("can't be prepared: {}", line(&error))))
            })?;
        }
        // Now rather than at the first request, which may find the process without a descriptor.
        component
            .initialize_copy_on_write_image()
            .map_err(|error| LoadError(format!("can't be prepared: {}", line(&error))))?;
        let kind = kind::detect(&component, &room.engine).map_err(LoadError)?;
        let pre = room
            .linkers
            .of(kind)
            .instantiate_pre(&component)
            .map_err(|error| LoadError(link_error(&error, kind)))?;
        let pre = kind
            .prepare(pre)
            .map_err(|error| LoadError(format!("does not keep the contract: {}", line(&error))))?;
        Ok(Program(Arc::new(Code {
            pre,
            imports: imports(&component, &room.engine),
            idle: Idle::default(),
        })))
    }

    /// Advances the epoch: guests that compute yield. Called by the ticker.
    pub(super) fn tick(&self) {
        self.small.engine.increment_epoch();
        self.any.engine.increment_epoch();
    }
}

impl Room {
    fn new(budget: &Budget, size: Size) -> anyhow::Result<Self> {
        let engine = pool::engine(budget, size)
            .map_err(anyhow::Error::from)
            .context("could not set up the WebAssembly engine")?;
        let linkers = Linkers::new(&engine)
            .map_err(anyhow::Error::from)
            .context("could not set up the host's functions")?;
        Ok(Self {
            engine,
            linkers: Arc::new(linkers),
        })
    }
}

impl Program {
    /// Which sort of handler it is.
    pub fn kind(&self) -> Kind {
        self.0.pre.kind()
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Load for Engine {
    type Program = Program;

    fn load(&self, _name: &str, bytes: &[u8]) -> anyhow::Result<Program> {
        Ok(Engine::load(self, bytes)?)
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

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

/// What the bytes of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// A component, or its text.
    Component,
    /// A core module.
    Module,
}

impl Layer {
    /// Tells the layers apart, and a file of another kind from both, before a compiler says so in
    /// words that help nobody.
    fn of(bytes: &[u8]) -> Result<Self, LoadError> {
        // The preamble: magic, then version and layer (component-model, Binary.md).
        const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
        const MODULE: &[u8] = b"\0asm\x01\0\0\0";
        let wrong = if bytes.is_empty() {
            "empty"
        } else if bytes.starts_with(COMPONENT) {
            return Ok(Self::Component);
        } else if bytes.starts_with(MODULE) {
            return Ok(Self::Module);
        } else if bytes.starts_with(b"\0asm") {
            "WebAssembly of an unknown version: build it with a current toolchain"
        } else if let Ok(text) = std::str::from_utf8(bytes)
            && text.contains('(')
        {
            if !is_module_text(text) {
                return Ok(Self::Component);
            }
            "the text of a core module: make a file of bytes of it (`wat2wasm`, `wasm-tools \
             parse`), or put it into a component's text"
        } else {
            "neither WebAssembly nor its text (.wat): is it the file that you meant?"
        };
        Err(LoadError(wrong.to_owned()))
    }
}

/// Whether text begins with `(module`, behind comments.
fn is_module_text(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        let behind = if rest.starts_with(";;") {
            rest.split_once('\n').map(|(_, behind)| behind)
        } else if rest.starts_with("(;") {
            rest.split_once(";)").map(|(_, behind)| behind)
        } else {
            break;
        };
        rest = behind.unwrap_or_default().trim_start();
    }
    rest.strip_prefix('(')
        .is_some_and(|rest| rest.trim_start().starts_with("module"))
}

/// What a component asks of the host.
fn imports(component: &Component, engine: &wasmtime::Engine) -> Vec<String> {
    component
        .component_type()
        .imports(engine)
        .filter(|(_, item)| {
            // An import of types alone asks nothing of the host.
            !matches!(&item.ty, ComponentItem::ComponentInstance(instance)
            if instance.exports(engine).all(|(_, item)| {
                matches!(item.ty, ComponentItem::Type(_))
            }))
        })
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    Component::new(engine, bytes).map_err(|error| {
        LoadError(format!(
            "does not compile: {} (is the file whole?)",
            line(&error)
        ))
    })
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

/// An error and its causes in one line.
pub(super) fn line(error: &wasmtime::Error) -> String {
    format!("{error:#}")
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_apart() {
        for (bytes, layer) in [
            (&b"\0asm\x0d\0\x01\0..."[..], Ok(Layer::Component)),
            (b"\0asm\x01\0\0\0...", Ok(Layer::Module)),
            (b"(component)", Ok(Layer::Component)),
            (
                b";; (module)\n (; (module ;) (component)",
                Ok(Layer::Component),
            ),
            (b" ( module)", Err("text of a core module")),
            (
                b";; text\n(; of ;);;\n(module $m)",
                Err("text of a core module"),
            ),
            (b"", Err("empty")),
            (b"\0asm\x02\0\0\0", Err("unknown version")),
            (b"prose", Err("neither WebAssembly")),
            (b"(;", Ok(Layer::Component)),
            (b";;(", Ok(Layer::Component)),
            (b"\xff(", Err("neither WebAssembly")),
        ] {
            let shown = bytes.escape_ascii();
            match (Layer::of(bytes), layer) {
                (Ok(got), Ok(wanted)) => assert_eq!(got, wanted, "{shown}"),
                (Err(got), Err(wanted)) => {
                    assert!(got.to_string().contains(wanted), "{shown}: {got}");
                }
                (got, wanted) => panic!("{shown}: {got:?}, not {wanted:?}"),
            }
        }
    }
}
