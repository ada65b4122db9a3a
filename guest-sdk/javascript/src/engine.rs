//! The interpreter: one for each instance, with the platform's functions.

use std::cell::RefCell;

use rquickjs::module::Evaluated;
use rquickjs::{
    CatchResultExt, Context, Ctx, Function, Module, Object, Persistent, Runtime, Value,
};

use crate::failure::Failure;
use crate::host;
use crate::kv;
use crate::modules::{Files, Sources};

/// The stack that JavaScript may use, in bytes. Beyond it a `RangeError` is thrown, before the
/// stack of the WebAssembly instance is full, which would end the instance.
const STACK_BYTES: usize = 192 << 10;

/// The growth of the heap after which cycles are collected, in bytes. Collecting visits every
/// object of the snapshot, which costs a fresh instance a copy of each page. So a request that
/// allocates less never does it.
const GC_THRESHOLD_BYTES: usize = 16 << 20;

/// The maximum number of rejected promises that are remembered until somebody handles them.
const MAX_REJECTIONS: usize = 20;

/// The interpreter.
pub(crate) struct Engine {
    runtime: Runtime,
    context: Context,
    exports: Persistent<Object<'static>>,
}

/// The functions that `platform/main.js` exports.
pub(crate) struct Platform<'js> {
    exports: Object<'js>,
    pub(crate) describe: Function<'js>,
    pub(crate) turn: Function<'js>,
}

/// A rejected promise that nothing has handled yet.
struct Rejection {
    promise: Persistent<Value<'static>>,
    reason: Persistent<Value<'static>>,
}

thread_local! {
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
    static REJECTIONS: RefCell<Vec<Rejection>> = const { RefCell::new(Vec::new()) };
}

impl Engine {
    /// Creates the interpreter for modules from `files`.
    ///
    /// # Errors
    ///
    /// Fails if the platform's own code can't be evaluated.
    fn new(files: Files) -> Result<Self, String> {
        let failed = |error: rquickjs::Error| error.to_string();
        let runtime = Runtime::new().map_err(failed)?;
        runtime.set_max_stack_size(STACK_BYTES);
        runtime.set_gc_threshold(usize::MAX);
        let context = Context::full(&runtime).map_err(failed)?;
        let sources = Sources::new(files);
        runtime.set_loader(sources.clone(), sources);
        let exports = context.with(|cx| {
            let platform = platform(&cx)
                .catch(&cx)
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(Persistent::save(&cx, platform))
        })?;
        runtime.set_host_promise_rejection_tracker(Some(Box::new(track)));
        Ok(Self {
            runtime,
            context,
            exports,
        })
    }

    /// Creates the interpreter of this instance.
    pub(crate) fn start(files: Files) -> Result<(), String> {
        let engine = Self::new(files)?;
        ENGINE.with(|cell| *cell.borrow_mut() = Some(engine));
        Ok(())
    }

    /// Prepares the memory for a snapshot: collects garbage, and forgets rejections.
    pub(crate) fn settle() {
        REJECTIONS.with(|list| list.borrow_mut().clear());
        ENGINE.with(|cell| {
            if let Some(engine) = &*cell.borrow() {
                engine.runtime.run_gc();
                let used = engine.runtime.memory_usage().malloc_size;
                let used = usize::try_from(used).unwrap_or(0);
                engine.runtime.set_gc_threshold(used + GC_THRESHOLD_BYTES);
            }
        });
    }
}

/// Runs `part` with the interpreter.
///
/// # Errors
///
/// Fails if no handler was loaded.
pub(crate) fn with<T>(
    part: impl for<'js> FnOnce(&Ctx<'js>, &Platform<'js>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    ENGINE.with(|cell| {
        let engine = cell.borrow();
        let Some(engine) = &*engine else {
            return Err(Failure::new("Error", "no handler was loaded"));
        };
        engine.context.with(|cx| {
            let exports = engine.exports.clone().restore(&cx);
            let platform = exports.and_then(Platform::new);
            let platform = platform.map_err(|error| Failure::new("Error", error.to_string()))?;
            part(&cx, &platform)
        })
    })
}

impl<'js> Platform<'js> {
    fn new(exports: Object<'js>) -> rquickjs::Result<Self> {
        Ok(Self {
            describe: exports.get("describe")?,
            turn: exports.get("turn")?,
            exports,
        })
    }

    /// Returns an exported function.
    pub(crate) fn function(&self, name: &str) -> rquickjs::Result<Function<'js>> {
        self.exports.get(name)
    }

    /// Returns descriptions of the promises that were rejected and that nothing handles, except for
    /// `known`.
    pub(crate) fn rejections(&self, cx: &Ctx<'js>, known: &Value<'js>) -> Vec<Failure> {
        let rejections = REJECTIONS.with(|list| std::mem::take(&mut *list.borrow_mut()));
        let mut failures = Vec::new();
        for rejection in rejections {
            let promise = rejection.promise.restore(cx);
            let reason = rejection.reason.restore(cx);
            if let (Ok(promise), Ok(reason)) = (promise, reason)
                && promise != *known
            {
                failures.push(Failure::from_value(cx, &self.describe, reason));
            }
        }
        failures
    }
}

/// Evaluates the platform's modules, and gives them the host's functions.
fn platform<'js>(cx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
    let main = crate::modules::platform_source("main.js").unwrap_or_default();
    let module = Module::declare(cx.clone(), "wasgi:main.js", main)?;
    let (module, evaluated): (Module<'js, Evaluated>, _) = module.eval()?;
    evaluated.finish::<()>()?;
    let exports = module.namespace()?;
    let start: Function<'js> = exports.get("start")?;
    let functions = host::functions(cx)?;
    kv::add_functions(cx, &functions)?;
    start.call::<_, ()>((functions,))?;
    Ok(exports)
}

/// Remembers rejected promises until they are handled.
#[allow(clippy::needless_pass_by_value, reason = "the type of the callback")]
fn track<'js>(cx: Ctx<'js>, promise: Value<'js>, reason: Value<'js>, is_handled: bool) {
    REJECTIONS.with(|list| {
        let mut list = list.borrow_mut();
        if is_handled {
            list.retain(|known| {
                let known = known.promise.clone().restore(&cx);
                known.is_ok_and(|known| known != promise)
            });
        } else if list.len() < MAX_REJECTIONS {
            list.push(Rejection {
                promise: Persistent::save(&cx, promise),
                reason: Persistent::save(&cx, reason),
            });
        }
    });
}
