//! A store for a request: its limits on values, handles, memory and computing time.

use wasmtime::{CallHook, Store, StoreContextMut, Trap, UpdateDeadline};

use super::state::HostState;
use crate::engine::limits::{self, HANDLES};
use crate::engine::worlds::pre::Pre;
use crate::gateway::Failure;

/// The number of ticks until a guest is first made to yield: it has computed for at least one. With
/// 1, a request of twenty microseconds that happens to cross a tick would count as computing, and
/// others would wait behind it.
pub(super) const FIRST_TICKS: u64 = 2;

/// Creates the store for an instance, with the state of its first request.
pub(in crate::engine) fn new_store(pre: &Pre, state: HostState) -> Store<HostState> {
    let mut store = Store::new(pre.engine(), state);
    if !pre.is_direct() {
        store.call_hook(limit_values);
        store.set_max_component_handles(HANDLES);
    }
    // Instantiation already runs the guest's start functions.
    store.set_epoch_deadline(FIRST_TICKS);
    store.limiter(|state| state);
    store.epoch_deadline_callback(|mut context| {
        let state = context.data_mut();
        let cpu_time = state.budget.cpu_time;
        let used = state.meter.tick();
        state.failure = if used >= cpu_time {
            Some(Failure::CpuTime(cpu_time))
        } else if state.exchange.is_client_gone() && used >= state.time_to_close(used) {
            Some(Failure::ClientGone)
        } else {
            return Ok(UpdateDeadline::Yield(1));
        };
        Err(Trap::Interrupt.into())
    });
    store
}

/// Limits the values of a component in wasmtime: the values that it passes to a call while it
/// runs, and the result at the end, which may be larger.
fn limit_values(
    mut context: StoreContextMut<'_, HostState>,
    event: CallHook,
) -> wasmtime::Result<()> {
    let state = context.data();
    let bytes = match event {
        CallHook::CallingHost => state.call_bytes(),
        CallHook::ReturningFromWasm => limits::returned_bytes(&state.budget),
        CallHook::CallingWasm | CallHook::ReturningFromHost => return Ok(()),
    };
    context.set_hostcall_fuel(bytes);
    Ok(())
}
