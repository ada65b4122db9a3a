//! Why a guest ended: the failure for a trap, and its text for the log.

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};

use super::backtrace::Stack;
use super::state::{HostState, MemoryDenied};
use crate::engine::limits::{self, TooLong, line};
use crate::gateway::Failure;

/// Returns the cause of a trap, as far as it is known.
pub(in crate::engine) fn trap_failure(trap: &wasmtime::Error, state: &mut HostState) -> Failure {
    keep_stack(trap, state);
    if let Some(failure) = state.failure.take() {
        return failure;
    }
    match denied(trap, state) {
        Some(failure) => failure,
        None => Failure::Trap(why(trap, state)),
    }
}

/// Returns the failure for memory that was denied to a guest, if that has caused its trap.
fn denied(trap: &wasmtime::Error, state: &HostState) -> Option<Failure> {
    let is_abort = || trap.downcast_ref() == Some(&Trap::UnreachableCodeReached);
    let denied = state.memory_denied;
    let denied = denied.filter(|_| !state.has_grown_since || is_abort());
    denied.map(|denied| match denied {
        MemoryDenied::Budget => Failure::Memory(state.budget.memory_bytes),
        MemoryDenied::Total(short) => Failure::TotalMemory(short.limit),
    })
}

/// Returns why an instance could not be created. Its start functions may have run and failed.
pub(in crate::engine) fn instantiation_failure(
    error: &wasmtime::Error,
    state: &mut HostState,
) -> Failure {
    keep_stack(error, state);
    if let Some(failure) = state.failure.take() {
        return failure;
    }
    if let Some(failure) = denied(error, state) {
        failure
    } else if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        Failure::NoRoom
    } else if error.downcast_ref::<WasmBacktrace>().is_some() {
        Failure::Instantiation(why(error, state))
    } else {
        Failure::Instantiation(line(error))
    }
}

/// Keeps the stack of a guest, if its lines are looked up later.
fn keep_stack(trap: &wasmtime::Error, state: &mut HostState) {
    if state.keeps_stack {
        let stack = trap.downcast_ref().map(Stack::new);
        state.stack = stack.map(Box::new);
    }
}

/// Returns what ended a guest, and where, unless its stack is kept.
fn why(trap: &wasmtime::Error, state: &HostState) -> String {
    let mut text = match (
        trap.downcast_ref::<Trap>(),
        TooLong::from_trap(trap, state.call_bytes(), &state.budget),
    ) {
        (Some(code), _) => code.to_string(),
        (None, Some(limit)) => limit.to_string(),
        (None, None) => limits::cause(trap),
    };
    if state.stack.is_none()
        && let Some(stack) = trap.downcast_ref()
    {
        Stack::new(stack).push_frames(&mut text);
    }
    text
}
