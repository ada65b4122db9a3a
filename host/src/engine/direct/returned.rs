//! What an application's functions return, read from its memory.
//!
//! The application calls a function of the host's with its result's address. What `fuse::glue` has
//! it call next (`post-return`) may give back what was read, and call nothing.

use wasmtime::{Caller, Result};

use super::Phase;
use super::handles::{Handles, Kind};
use super::host::{Word, enter};
use super::lift::Lift;
use crate::engine::application::Answer;
use crate::engine::bindings::wasgi::gateway::gateway::Exception;
use crate::engine::state::State;

/// What each function's result takes, in bytes: an exception is the largest part of it.
const RESULT_BYTES: usize = 28;

/// What a function of the application's has returned.
pub(super) enum Returned {
    Call(Result<Answer<u32>, Exception>),
    Next(Result<Option<Vec<u8>>, Exception>),
    Close(Result<(), Exception>),
}

pub(super) fn call(mut caller: Caller<'_, State>, result: Word) -> Result<()> {
    read(&mut caller, result, |lift, handles| {
        let answer = answer(lift, handles, result)?;
        Ok(Returned::Call(answer))
    })
}

pub(super) fn next(mut caller: Caller<'_, State>, result: Word) -> Result<()> {
    read(&mut caller, result, |lift, handles| {
        // The blocks were lent for the call.
        handles.release();
        Ok(Returned::Next(block(lift, result)?))
    })
}

pub(super) fn close(mut caller: Caller<'_, State>, result: Word) -> Result<()> {
    read(&mut caller, result, |lift, handles| {
        handles.release();
        Ok(Returned::Close(closed(lift, result)?))
    })
}

fn read(
    caller: &mut Caller<'_, State>,
    result: Word,
    lift: impl FnOnce(&mut Lift<'_>, &mut Handles) -> Result<Returned>,
) -> Result<()> {
    let (memory, state) = enter(caller)?;
    let mut from = Lift::returned(memory, &state.budget);
    from.place(result, RESULT_BYTES)?;
    let returned = lift(&mut from, &mut state.direct.handles)?;
    state.direct.phase = Phase::Returned(returned);
    Ok(())
}

/// `result<body, exception>`
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
            let rep = handles.remove(Kind::Blocks, blocks)?;
            // Now it is the host's.
            handles.hold()?;
            Answer::Blocks(rep)
        }
    }))
}

/// `result<option<list<u8>>, exception>`
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

/// `result<_, exception>`
fn closed(lift: &mut Lift<'_>, result: Word) -> Result<Result<(), Exception>> {
    if lift.case(result, 2)? != 0 {
        return lift.exception_at(result.wrapping_add(4)).map(Err);
    }
    Ok(Ok(()))
}
