//! Instances of applications that are called directly, and their exported functions.

use wasmtime::{
    InstancePre, Module, ModuleExport, Result, Store, TypedFunc, WasmParams, format_err,
};

use super::abi::Export;
use super::handles::HandleKind;
use super::state::{Phase, Returned};
use crate::engine::call::state::HostState;
use crate::engine::worlds::gateway::answer::Answer;
use crate::engine::worlds::gateway::bindings::wasgi::gateway::gateway::Exception;

/// A linked program, ready to be instantiated.
#[derive(Clone)]
pub(in crate::engine) struct Pre {
    pre: InstancePre<HostState>,
    exports: Exports,
}

/// An instance of an application.
pub(in crate::engine) struct Instance {
    instance: wasmtime::Instance,
    exports: Exports,
    call: TypedFunc<(u32, u32), ()>,
}

/// The indices of the application's functions among the exports of the module.
#[derive(Clone, Copy)]
struct Exports {
    memory: ModuleExport,
    call: ModuleExport,
    next: ModuleExport,
    close: ModuleExport,
    destroy: Option<ModuleExport>,
}

impl Pre {
    /// Looks up the exports.
    ///
    /// # Errors
    ///
    /// Fails if the module lacks an export that `abi` requires.
    pub(in crate::engine) fn new(pre: InstancePre<HostState>) -> Result<Self> {
        let exports = Exports::from_module(pre.module())?;
        Ok(Self { pre, exports })
    }

    pub(in crate::engine) fn engine(&self) -> &wasmtime::Engine {
        self.pre.module().engine()
    }

    pub(in crate::engine) async fn instantiate(
        &self,
        store: &mut Store<HostState>,
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
            exports,
            call: function(&instance, store, &exports.call)?,
        })
    }
}

impl Instance {
    /// Calls `application(environ, start_response)`.
    pub(in crate::engine) async fn call(
        &self,
        store: &mut Store<HostState>,
    ) -> Result<Result<Answer<u32>, Exception>> {
        let state = store.data_mut();
        let request = state.request;
        let environ = state.direct.handles.add(HandleKind::Environ, request)?;
        let start_response = state
            .direct
            .handles
            .add(HandleKind::StartResponse, request)?;
        match returned(store, &self.call, (environ, start_response)).await? {
            Returned::Call(answer) => Ok(answer),
            Returned::Next(_) | Returned::Close(_) => Err(missing()),
        }
    }

    /// Returns the next block of a body.
    pub(in crate::engine) async fn next(
        &self,
        store: &mut Store<HostState>,
        blocks: u32,
    ) -> Result<Result<Option<Vec<u8>>, Exception>> {
        let next = function(&self.instance, store, &self.exports.next)?;
        store.data_mut().direct.handles.hold()?;
        match returned(store, &next, blocks).await? {
            Returned::Next(block) => Ok(block),
            Returned::Call(_) | Returned::Close(_) => Err(missing()),
        }
    }

    /// Closes the blocks of a body.
    pub(in crate::engine) async fn close(
        &self,
        store: &mut Store<HostState>,
        blocks: u32,
    ) -> Result<Result<(), Exception>> {
        let close = function(&self.instance, store, &self.exports.close)?;
        store.data_mut().direct.handles.hold()?;
        match returned(store, &close, blocks).await? {
            Returned::Close(closed) => Ok(closed),
            Returned::Call(_) | Returned::Next(_) => Err(missing()),
        }
    }

    /// Destroys the blocks of a body.
    pub(in crate::engine) async fn destroy(
        &self,
        store: &mut Store<HostState>,
        blocks: u32,
    ) -> Result<()> {
        store.data_mut().direct.handles.release();
        match &self.exports.destroy {
            Some(destroy) => {
                let destroy: TypedFunc<u32, ()> = function(&self.instance, store, destroy)?;
                destroy.call_async(&mut *store, blocks).await
            }
            None => Ok(()),
        }
    }
}

/// Calls a function of the application and returns its result.
async fn returned<P: WasmParams + Sync>(
    store: &mut Store<HostState>,
    function: &TypedFunc<P, ()>,
    params: P,
) -> Result<Returned> {
    function.call_async(&mut *store, params).await?;
    match std::mem::take(&mut store.data_mut().direct.phase) {
        Phase::Returned(returned) => Ok(returned),
        Phase::Working | Phase::Allocating(_) => Err(missing()),
    }
}

fn function<P, R>(
    instance: &wasmtime::Instance,
    store: &mut Store<HostState>,
    export: &ModuleExport,
) -> Result<TypedFunc<P, R>>
where
    P: WasmParams,
    R: wasmtime::WasmResults,
{
    let function = instance.get_module_export(&mut *store, export);
    let function = function.and_then(wasmtime::Extern::into_func);
    function.ok_or_else(missing)?.typed(&*store)
}

impl Exports {
    fn from_module(module: &Module) -> Result<Self> {
        let find = |export: Export| module.get_export_index(export.name());
        let found = |export| find(export).ok_or_else(missing);
        Ok(Self {
            memory: found(Export::Memory)?,
            call: found(Export::Call)?,
            next: found(Export::Next)?,
            close: found(Export::Close)?,
            destroy: find(Export::Destroy),
        })
    }
}

fn missing() -> wasmtime::Error {
    format_err!("a fused application lacks its entry points")
}
