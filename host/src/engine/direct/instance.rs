//! Instances of applications that are called directly, and the functions that these have.

use std::sync::OnceLock;

use wasmtime::{InstancePre, Memory, Module, ModuleExport, Result, Store, TypedFunc, format_err};

use super::abi::Export;
use super::handles::Kind;
use super::lift::Lift;
use crate::engine::application::Answer;
use crate::engine::bindings::wasgi::gateway::gateway::Exception;
use crate::engine::state::State;

/// What each function's result takes, in bytes: an exception is the largest part of it.
const RESULT_BYTES: usize = 28;

/// Linked and ready to instantiate.
#[derive(Clone)]
pub(in crate::engine) struct Pre {
    pre: InstancePre<State>,
    exports: Exports,
}

/// An instance of an application.
pub(in crate::engine) struct Instance {
    instance: wasmtime::Instance,
    memory: Memory,
    exports: Exports,
    call: TypedFunc<(u32, u32), u32>,
    /// Looked up once, for all requests that it serves.
    after_call: OnceLock<After>,
}

/// What takes a number and returns nothing, if there is that.
type After = Option<TypedFunc<u32, ()>>;

/// Where the application's functions are among what the module exports.
#[derive(Clone, Copy)]
struct Exports {
    memory: ModuleExport,
    call: ModuleExport,
    next: ModuleExport,
    close: ModuleExport,
    after_call: Option<ModuleExport>,
    after_next: Option<ModuleExport>,
    after_close: Option<ModuleExport>,
    destroy: Option<ModuleExport>,
}

impl Pre {
    /// # Errors
    ///
    /// Fails where the module has not what `abi` says.
    pub(in crate::engine) fn new(pre: InstancePre<State>) -> Result<Self> {
        let exports = Exports::of(pre.module())?;
        Ok(Self { pre, exports })
    }

    pub(in crate::engine) fn engine(&self) -> &wasmtime::Engine {
        self.pre.module().engine()
    }

    pub(in crate::engine) async fn instantiate(
        &self,
        store: &mut Store<State>,
    ) -> Result<Instance> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let exports = self.exports;
        let memory = instance.get_module_export(&mut *store, &exports.memory);
        let memory = memory
            .and_then(wasmtime::Extern::into_memory)
            .ok_or_else(missing)?;
        store.data_mut().direct.memory = Some(memory);
        Ok(Instance {
            instance,
            memory,
            exports,
            call: function(&instance, store, &exports.call)?,
            after_call: OnceLock::new(),
        })
    }
}

impl Instance {
    /// `application(environ, start_response)`.
    pub(in crate::engine) async fn call(
        &self,
        store: &mut Store<State>,
    ) -> Result<Result<Answer<u32>, Exception>> {
        let state = store.data_mut();
        let request = state.request;
        let environ = state.direct.handles.add(Kind::Environ, request)?;
        let start_response = state.direct.handles.add(Kind::StartResponse, request)?;
        let result = self
            .call
            .call_async(&mut *store, (environ, start_response))
            .await?;
        let (memory, state) = self.memory.data_and_store_mut(&mut *store);
        let mut lift = Lift::new(memory);
        lift.place(result, RESULT_BYTES)?;
        let answer = match lift.case(result, 2)? {
            0 => match lift.case(result.wrapping_add(4), 2)? {
                0 => {
                    let [address, length] = lift.words(result.wrapping_add(8))?;
                    Ok(Answer::Block(lift.bytes(address, length)?))
                }
                _ => {
                    let [blocks] = lift.words(result.wrapping_add(8))?;
                    Ok(Answer::Blocks(
                        state.direct.handles.remove(Kind::Blocks, blocks)?,
                    ))
                }
            },
            _ => Err(lift.exception_at(result.wrapping_add(4))?),
        };
        // Where nothing of the instance will run again, nobody cares what it leaves behind.
        if state.is_kept || matches!(answer, Ok(Answer::Blocks(_))) {
            let after = match self.after_call.get() {
                Some(after) => after,
                None => {
                    let after = self.find_after(store, self.exports.after_call)?;
                    self.after_call.get_or_init(|| after)
                }
            };
            if let Some(after) = after {
                after.call_async(&mut *store, result).await?;
            }
        }
        Ok(answer)
    }

    /// The next of a body's blocks.
    pub(in crate::engine) async fn next(
        &self,
        store: &mut Store<State>,
        blocks: u32,
    ) -> Result<Result<Option<Vec<u8>>, Exception>> {
        let next: TypedFunc<u32, u32> = function(&self.instance, store, &self.exports.next)?;
        let result = next.call_async(&mut *store, blocks).await?;
        let mut lift = Lift::new(self.memory.data(&*store));
        lift.place(result, RESULT_BYTES)?;
        let block = match lift.case(result, 2)? {
            0 => match lift.case(result.wrapping_add(4), 2)? {
                0 => Ok(None),
                _ => {
                    let [address, length] = lift.words(result.wrapping_add(8))?;
                    Ok(Some(lift.bytes(address, length)?))
                }
            },
            _ => Err(lift.exception_at(result.wrapping_add(4))?),
        };
        self.after(store, self.exports.after_next, result).await?;
        Ok(block)
    }

    /// The end of a body's blocks.
    pub(in crate::engine) async fn close(
        &self,
        store: &mut Store<State>,
        blocks: u32,
    ) -> Result<Result<(), Exception>> {
        let close: TypedFunc<u32, u32> = function(&self.instance, store, &self.exports.close)?;
        let result = close.call_async(&mut *store, blocks).await?;
        let mut lift = Lift::new(self.memory.data(&*store));
        lift.place(result, RESULT_BYTES)?;
        let closed = match lift.case(result, 2)? {
            0 => Ok(()),
            _ => Err(lift.exception_at(result.wrapping_add(4))?),
        };
        self.after(store, self.exports.after_close, result).await?;
        Ok(closed)
    }

    /// Gives a body's blocks back.
    pub(in crate::engine) async fn destroy(
        &self,
        store: &mut Store<State>,
        blocks: u32,
    ) -> Result<()> {
        self.after(store, self.exports.destroy, blocks).await
    }

    /// Calls what takes a number and returns nothing, if there is that.
    async fn after(
        &self,
        store: &mut Store<State>,
        export: Option<ModuleExport>,
        value: u32,
    ) -> Result<()> {
        match self.find_after(store, export)? {
            Some(after) => after.call_async(&mut *store, value).await,
            None => Ok(()),
        }
    }

    fn find_after(&self, store: &mut Store<State>, export: Option<ModuleExport>) -> Result<After> {
        let found = export.map(|export| function(&self.instance, store, &export));
        found.transpose()
    }
}

fn function<P, R>(
    instance: &wasmtime::Instance,
    store: &mut Store<State>,
    export: &ModuleExport,
) -> Result<TypedFunc<P, R>>
where
    P: wasmtime::WasmParams,
    R: wasmtime::WasmResults,
{
    let function = instance.get_module_export(&mut *store, export);
    let function = function.and_then(wasmtime::Extern::into_func);
    function.ok_or_else(missing)?.typed(&*store)
}

impl Exports {
    fn of(module: &Module) -> Result<Self> {
        let find = |export: Export| module.get_export_index(export.name());
        let found = |export| find(export).ok_or_else(missing);
        Ok(Self {
            memory: found(Export::Memory)?,
            call: found(Export::Call)?,
            next: found(Export::Next)?,
            close: found(Export::Close)?,
            after_call: find(Export::AfterCall),
            after_next: find(Export::AfterNext),
            after_close: find(Export::AfterClose),
            destroy: find(Export::Destroy),
        })
    }
}

fn missing() -> wasmtime::Error {
    format_err!("a fused application has not what it is called by")
}
