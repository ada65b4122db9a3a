//! Reads the results of an application's functions from its memory.
//!
//! The application calls a host function with the address of its result. The function that
//! `fuse::glue` calls next (`post-return`) may free the result, and may not call the host.

use wasmtime::{Caller, Result, bail};

use super::abi::Export;
use super::handles::{HandleKind, Handles};
use super::host::{Word, enter};
use super::lift::Lift;
use super::state::{Phase, Returned};
use crate::engine::call::state::HostState;
use crate::engine::worlds::gateway::answer::Answer;
use crate::engine::worlds::gateway::bindings::wasgi::gateway::gateway::Exception;

/// The size of a function's result, in bytes: determined by an exception, its largest part.
const RESULT_BYTES: usize = 28;

/// Reads the result of one of the application's functions, which is identified by its number.
///
/// # Errors
///
/// Fails if the number belongs to no function with a result, or the result is invalid.
pub(super) fn read(mut caller: Caller<'_, HostState>, function: Word, result: Word) -> Result<()> {
    let (memory, state) = enter(&mut caller)?;
    let mut lift = Lift::returned(memory, &state.budget);
    lift.place(result, RESULT_BYTES)?;
    let handles = &mut state.direct.handles;
    let returned = if function == Export::Call.number() {
        Returned::Call(answer(&mut lift, handles, result)?)
    } else if function == Export::Next.number() {
        // The blocks were borrowed for the call.
        handles.release();
        Returned::Next(block(&mut lift, result)?)
    } else if function == Export::Close.number() {
        handles.release();
        Returned::Close(closed(&mut lift, result)?)
    } else {
        bail!("an application returned from an unknown function");
    };
    state.direct.phase = Phase::Returned(returned);
    Ok(())
}

/// Reads `result<body, exception>`.
fn answer(
    lift: &mut Lift<'_>,
    handles: &mut Handles,
    result: Word,
) -> Result<Result<Answer<u32>, Exception>> {
    if lift.case(result, 2)? != 0 {
        return lift.exception_at(result.wrapping_add(4)).map(Err);
    }
    Ok(Ok(match lift.case(result.wrapping_add(4), 2)? {
        0 => {
            let [address, length] = lift.words(result.wrapping_add(8))?;
            Answer::Block(lift.bytes(address, length)?)
        }
        _ => {
            let [blocks] = lift.words(result.wrapping_add(8))?;
            let rep = handles.remove(HandleKind::Blocks, blocks)?;
            // The host owns it now.
            handles.hold()?;
            Answer::Blocks(rep)
        }
    }))
}

/// Reads `result<option<list<u8>>, exception>`.
fn block(lift: &mut Lift<'_>, result: Word) -> Result<Result<Option<Vec<u8>>, Exception>> {
    if lift.case(result, 2)? != 0 {
        return lift.exception_at(result.wrapping_add(4)).map(Err);
    }
    Ok(Ok(match lift.case(result.wrapping_add(4), 2)? {
        0 => None,
        _ => {
            let [address, length] = lift.words(result.wrapping_add(8))?;
            Some(lift.bytes(address, length)?)
        }
    }))
}

/// Reads `result<_, exception>`.
fn closed(lift: &mut Lift<'_>, result: Word) -> Result<Result<(), Exception>> {
    if lift.case(result, 2)? != 0 {
        return lift.exception_at(result.wrapping_add(4)).map(Err);
    }
    Ok(Ok(()))
}
