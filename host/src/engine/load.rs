//! From a file's bytes to a program that is ready to instantiate, or one line that says why not.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker};

use super::bindings::HandlerPre;
use super::cache::CodeCache;
use super::state::State;
use super::{imports, pool};
use crate::config::Budget;
use crate::registry::Describe;
use crate::reload::Load;

/// The interface that makes a component a handler.
const APPLICATION: &str = "wasgi:gateway/application@0.1.0";

/// Compiles programs. Clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: wasmtime::Engine,
    pub(super) linker: Arc<Linker<State>>,
    cache: Option<Arc<CodeCache>>,
}

/// A handler's code: compiled, checked against the contract and linked.
#[derive(Clone)]
pub struct Program {
    pub(super) pre: HandlerPre<State>,
    /// The names of what it imports, such as `wasi:clocks/wall-clock@0.2.6`.
    imports: Arc<[String]>,
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
        let inner = pool::engine(budget)
            .map_err(anyhow::Error::from)
            .context("could not set up the WebAssembly engine")?;
        let linker = imports::linker(&inner)
            .map_err(anyhow::Error::from)
            .context("could not set up the host's functions")?;
        let cache = code_cache.and_then(|folder| match CodeCache::open(folder, &inner) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(error) => {
                tracing::warn!("compiled handlers are not kept: {error:#}");
                None
            }
        });
        Ok(Self {
            inner,
            linker: Arc::new(linker),
            cache,
        })
    }

    /// Compiles and checks the bytes of a `.wasm` or `.wat` file.
    ///
    /// Takes as long as compiling takes, from milliseconds to many seconds, on all cores: not for
    /// a reactor's thread.
    ///
    /// # Errors
    ///
    /// Fails when the bytes are no component, not of the contract's world, too large for the
    /// budget, or import what the host does not have.
    pub fn load(&self, bytes: &[u8]) -> Result<Program, LoadError> {
        check_layer(bytes)?;
        let component = match &self.cache {
            Some(cache) => cache.load(&self.inner, bytes, compile)?,
            None => compile(&self.inner, bytes)?,
        };
        // Now rather than at the first request, which may find the process without a descriptor.
        component
            .initialize_copy_on_write_image()
            .map_err(|error| LoadError(format!("can't be prepared: {}", line(&error))))?;
        let imports = self.check_exports(&component)?;
        let pre = self
            .linker
            .instantiate_pre(&component)
            .map_err(|error| LoadError(link_error(&error)))?;
        let pre = HandlerPre::new(pre)
            .map_err(|error| LoadError(format!("does not keep the contract: {}", line(&error))))?;
        Ok(Program {
            pre,
            imports: imports.into(),
        })
    }

    /// Advances the epoch: guests that compute yield. Called by the ticker.
    pub(super) fn tick(&self) {
        self.inner.increment_epoch();
    }

    /// Checks that the component is a handler at all, and lists what it imports.
    fn check_exports(&self, component: &Component) -> Result<Vec<String>, LoadError> {
        let ty = component.component_type();
        let exports: Vec<String> = ty
            .exports(&self.inner)
            .map(|(name, _)| name.to_owned())
            .collect();
        let imports = ty
            .imports(&self.inner)
            .filter(|(_, item)| {
                // An import of types alone asks nothing of the host.
                !matches!(&item.ty, ComponentItem::ComponentInstance(instance)
                if instance.exports(&self.inner).all(|(_, item)| {
                    matches!(item.ty, ComponentItem::Type(_))
                }))
            })
            .map(|(name, _)| name.to_owned())
            .collect();
        if exports.iter().any(|name| name == APPLICATION) {
            return Ok(imports);
        }
        let has = if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.join(", ")
        };
        Err(LoadError(format!(
            "a component, but no handler: it exports {has}, and has to export {APPLICATION}; \
             build it with a wasgi SDK, or against wit/gateway.wit"
        )))
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
        "wasgi"
    }

    fn imports(&self) -> Vec<String> {
        let own = |name: &&String| !name.starts_with("wasgi:gateway/");
        self.imports.iter().filter(own).cloned().collect()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program")
            .field("imports", &self.imports)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LoadError {}

/// Tells a core module and a file of another kind from a component, before a compiler says so in
/// words that help nobody.
fn check_layer(bytes: &[u8]) -> Result<(), LoadError> {
    // The preamble: magic, then version and layer (component-model, Binary.md).
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    let wrong = if bytes.is_empty() {
        "empty"
    } else if bytes.starts_with(COMPONENT) {
        return Ok(());
    } else if bytes.starts_with(MODULE) {
        "a core module, not a component: build it for wasm32-wasip2, or make a component of it \
         with `wasm-tools component new`"
    } else if bytes.starts_with(b"\0asm") {
        "WebAssembly of an unknown version: build it with a current toolchain"
    } else if std::str::from_utf8(bytes).is_ok_and(|text| text.contains('(')) {
        return Ok(());
    } else {
        "neither WebAssembly nor its text (.wat): is it the file that you meant?"
    };
    Err(LoadError(wrong.to_owned()))
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
fn link_error(error: &wasmtime::Error) -> String {
    let cause = line(error);
    match cause.split('`').nth(1) {
        Some(import) => format!(
            "needs {import}, which this server does not offer: it has wasgi:gateway@0.1.0 and \
             WASI 0.2 without wasi:http ({cause})"
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
