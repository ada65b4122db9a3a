//! The functions that an application imports. Each reads its parameters from the application's
//! memory, calls the gateway function of the same name (`state`), and starts to write the result.

use wasmtime::component::Resource;
use wasmtime::{Caller, Linker, Result, bail};

use super::abi::{HOST, HostFunction, NOTHING};
use super::handles::HandleKind;
use super::lift::{Lift, checked_case, place, place_of_bytes};
use super::lower::{Lowering, put};
use super::returned;
use super::state::Phase;
use crate::engine::call::state::HostState;
use crate::engine::worlds::gateway::bindings::wasgi::gateway::gateway::{
    Host, HostEnviron, HostStartResponse, InputError, StartError, WriteError,
};

/// A flat parameter.
pub(super) type Word = u32;

/// The words of an exception: an address and a length for each of its texts.
type Texts = [(Word, Word); 3];

/// Adds all host functions to the linker.
pub(in crate::engine) fn add_to_linker(linker: &mut Linker<HostState>) -> Result<()> {
    linker.func_wrap(HOST, HostFunction::Get.name(), get)?;
    linker.func_wrap(HOST, HostFunction::Variables.name(), variables)?;
    linker.func_wrap_async(
        HOST,
        HostFunction::Read.name(),
        |caller, (this, size, result)| Box::new(read(caller, this, size, result)),
    )?;
    linker.func_wrap(HOST, HostFunction::WriteErrors.name(), write_errors)?;
    linker.func_wrap(HOST, HostFunction::StartResponse.name(), start_response)?;
    linker.func_wrap_async(
        HOST,
        HostFunction::Write.name(),
        |caller, (this, address, length, result)| {
            Box::new(write(caller, this, (address, length), result))
        },
    )?;
    linker.func_wrap(HOST, HostFunction::Panicked.name(), panicked)?;
    linker.func_wrap(HOST, HostFunction::DropEnviron.name(), drop_environ)?;
    linker.func_wrap(
        HOST,
        HostFunction::DropStartResponse.name(),
        drop_start_response,
    )?;
    linker.func_wrap(HOST, HostFunction::NewBlocks.name(), new_blocks)?;
    linker.func_wrap(HOST, HostFunction::BlocksRep.name(), blocks_rep)?;
    linker.func_wrap(HOST, HostFunction::DropBlocks.name(), drop_blocks)?;
    linker.func_wrap(HOST, HostFunction::Give.name(), give)?;
    linker.func_wrap(HOST, HostFunction::Return.name(), returned::read)?;
    Ok(())
}

fn get(
    mut caller: Caller<'_, HostState>,
    this: Word,
    name: Word,
    length: Word,
    result: Word,
) -> Result<i64> {
    let (memory, state) = enter(&mut caller)?;
    let this = handle(state, HandleKind::Environ, this)?;
    let name = Lift::passed(memory, &state.budget).string(name, length)?;
    let found = HostEnviron::get(state, this, name)?;
    place(memory, result, 12)?;
    match found {
        Some(value) => {
            put(memory, result, &[1])?;
            lower(state, Lowering::of_bytes(value, result.wrapping_add(4)))
        }
        None => done(memory, result, &[0]),
    }
}

fn variables(mut caller: Caller<'_, HostState>, this: Word, result: Word) -> Result<i64> {
    let (memory, state) = enter(&mut caller)?;
    let this = handle(state, HandleKind::Environ, this)?;
    let variables = HostEnviron::variables(state, this)?;
    place(memory, result, 8)?;
    lower(state, Lowering::Pairs(result, variables))
}

async fn read(
    mut caller: Caller<'_, HostState>,
    this: Word,
    size: u64,
    result: Word,
) -> Result<i64> {
    let (_, state) = enter(&mut caller)?;
    let this = handle(state, HandleKind::Environ, this)?;
    let read = HostEnviron::read(state, this, size).await?;
    let (memory, state) = enter(&mut caller)?;
    place(memory, result, 12)?;
    match read {
        Ok(block) => {
            put(memory, result, &[0])?;
            lower(state, Lowering::of_bytes(block, result.wrapping_add(4)))
        }
        Err(error) => {
            put(memory, result, &[1])?;
            done(
                memory,
                result.wrapping_add(4),
                &[case_of_input_error(error)],
            )
        }
    }
}

fn write_errors(
    mut caller: Caller<'_, HostState>,
    this: Word,
    text: Word,
    length: Word,
) -> Result<()> {
    let (memory, state) = enter(&mut caller)?;
    let this = handle(state, HandleKind::Environ, this)?;
    let text = Lift::passed(memory, &state.budget).bytes(text, length)?;
    HostEnviron::write_errors(state, this, text)
}

#[allow(
    clippy::too_many_arguments,
    reason = "the canonical ABI's flat parameters of `start-response.call`"
)]
fn start_response(
    mut caller: Caller<'_, HostState>,
    this: Word,
    status: Word,
    status_length: Word,
    headers: Word,
    headers_count: Word,
    has_exc_info: Word,
    kind: Word,
    kind_length: Word,
    message: Word,
    message_length: Word,
    traceback: Word,
    traceback_length: Word,
    result: Word,
) -> Result<i64> {
    let (memory, state) = enter(&mut caller)?;
    let this = handle(state, HandleKind::StartResponse, this)?;
    let mut lift = Lift::passed(memory, &state.budget);
    let status = lift.bytes(status, status_length)?;
    let headers = lift.pairs(headers, headers_count)?;
    let exc_info = match checked_case(has_exc_info, 2)? {
        0 => None,
        _ => Some(lift.exception([
            (kind, kind_length),
            (message, message_length),
            (traceback, traceback_length),
        ])?),
    };
    let started = HostStartResponse::call(state, this, status, headers, exc_info)?;
    place(memory, result, 16)?;
    let case = match started {
        Ok(()) => return done(memory, result, &[0]),
        Err(StartError::AlreadyStarted) => 0,
        Err(StartError::HeadSent) => 1,
        Err(StartError::Refused(why)) => {
            put(memory, result, &[1])?;
            put(memory, result.wrapping_add(4), &[2])?;
            return lower(
                state,
                Lowering::of_bytes(why.into_bytes(), result.wrapping_add(8)),
            );
        }
    };
    put(memory, result, &[1])?;
    done(memory, result.wrapping_add(4), &[case])
}

async fn write(
    mut caller: Caller<'_, HostState>,
    this: Word,
    (address, length): (Word, Word),
    result: Word,
) -> Result<()> {
    let (memory, state) = enter(&mut caller)?;
    let this = handle(state, HandleKind::StartResponse, this)?;
    let block = Lift::passed(memory, &state.budget).bytes(address, length)?;
    let written = HostStartResponse::write(state, this, block).await?;
    let (memory, _) = enter(&mut caller)?;
    // The place of the error byte must be valid even without an error; it is then unchanged.
    place_of_bytes(memory, result, 2)?;
    match written {
        Ok(()) => put(memory, result, &[0]),
        Err(error) => put(memory, result, &[1, case_of_write_error(error)]),
    }
}

fn panicked(
    mut caller: Caller<'_, HostState>,
    kind: Word,
    kind_length: Word,
    message: Word,
    message_length: Word,
    traceback: Word,
    traceback_length: Word,
) -> Result<()> {
    let (memory, state) = enter(&mut caller)?;
    let texts: Texts = [
        (kind, kind_length),
        (message, message_length),
        (traceback, traceback_length),
    ];
    let exception = Lift::passed(memory, &state.budget).exception(texts)?;
    Host::panicked(state, exception)
}

fn drop_environ(mut caller: Caller<'_, HostState>, this: Word) -> Result<()> {
    drop_handle(&mut caller, HandleKind::Environ, this).map(drop)
}

fn drop_start_response(mut caller: Caller<'_, HostState>, this: Word) -> Result<()> {
    drop_handle(&mut caller, HandleKind::StartResponse, this).map(drop)
}

/// Drops a handle of blocks. Returns the application's representation of them, because their
/// destructor is one of the application's functions.
fn drop_blocks(mut caller: Caller<'_, HostState>, blocks: Word) -> Result<Word> {
    drop_handle(&mut caller, HandleKind::Blocks, blocks)
}

fn drop_handle(caller: &mut Caller<'_, HostState>, kind: HandleKind, handle: Word) -> Result<Word> {
    let direct = &mut caller.data_mut().direct;
    direct.phase.check_leave()?;
    direct.handles.remove(kind, handle)
}

fn new_blocks(mut caller: Caller<'_, HostState>, rep: Word) -> Result<Word> {
    let direct = &mut caller.data_mut().direct;
    direct.phase.check_leave()?;
    direct.handles.add(HandleKind::Blocks, rep)
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "as wasmtime passes it to each function"
)]
fn blocks_rep(caller: Caller<'_, HostState>, blocks: Word) -> Result<Word> {
    caller.data().direct.handles.get(HandleKind::Blocks, blocks)
}

/// Takes the address of space that the application has allocated.
fn give(mut caller: Caller<'_, HostState>, address: Word) -> Result<i64> {
    let memory = caller.data().direct.memory()?;
    let (memory, state) = memory.data_and_store_mut(&mut caller);
    let Phase::Allocating(lowering) = &mut state.direct.phase else {
        bail!("nothing was wanted");
    };
    lowering.give(memory, address)?;
    let wanted = lowering.wants()?;
    if wanted == NOTHING {
        state.direct.phase = Phase::Working;
    }
    Ok(wanted)
}

/// Returns the application's memory and the state, if the application may call the host.
pub(super) fn enter<'c>(
    caller: &'c mut Caller<'_, HostState>,
) -> Result<(&'c mut [u8], &'c mut HostState)> {
    caller.data().direct.phase.check_leave()?;
    let memory = caller.data().direct.memory()?;
    Ok(memory.data_and_store_mut(caller))
}

fn handle<T: 'static>(
    state: &mut HostState,
    kind: HandleKind,
    handle: Word,
) -> Result<Resource<T>> {
    let rep = state.direct.handles.lend(kind, handle)?;
    Ok(Resource::new_borrow(rep))
}

/// Requests allocations for the rest of a result.
fn lower(state: &mut HostState, lowering: Lowering) -> Result<i64> {
    let wanted = lowering.wants()?;
    state.direct.phase = Phase::Allocating(lowering);
    Ok(wanted)
}

/// Writes the end of a result that needs no allocation.
fn done(memory: &mut [u8], address: Word, bytes: &[u8]) -> Result<i64> {
    put(memory, address, bytes)?;
    Ok(NOTHING)
}

fn case_of_input_error(error: InputError) -> u8 {
    match error {
        InputError::Disconnected => 0,
        InputError::TimedOut => 1,
        InputError::TooLarge => 2,
        InputError::Malformed => 3,
    }
}

fn case_of_write_error(error: WriteError) -> u8 {
    match error {
        WriteError::NotStarted => 0,
        WriteError::Disconnected => 1,
    }
}
