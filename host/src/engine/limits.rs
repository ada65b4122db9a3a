//! What may cross from a guest, and what it may ask the host for: every limit of a value, in one
//! place. Each is checked before the value is copied, formatted or walked, so that no call keeps
//! the reactor's thread for long: `tests` makes every call that there is, with the largest values.
//!
//! | what | limit | where it is checked |
//! |---|---|---|
//! | all that one call passes | [`call_bytes`] | wasmtime (`hostcall_fuel`), or `direct::lift` |
//! | what the application returns | [`returned_bytes`] | likewise |
//! | a response's head | `budget.response-head` | `gateway::response` |
//! | an exception's texts | `gateway::failure` | when it is taken over |
//! | what is logged | `budget.log` | `guest_log` |
//! | random bytes, fields, handles | here | `wasmtime-wasi`, `wasmtime-wasi-http` |
//! | names in a stack | `backtrace` | `backtrace` |

use std::fmt::{self, Write};

use wasmtime::{CallHook, StoreContextMut, WasmBacktrace};

use super::state::State;
use crate::config::Budget;
use crate::printable;

/// What one call passes to the host at most, in bytes: all its strings and lists, with an entry of
/// a list counted at what the host holds for it. A response's head may be larger, and its calls
/// with it.
///
/// A guest writes 64 KiB at a time to a stream of WASI's, and what it logs in a request is less.
/// The slowest that can be done with a megabyte takes some milliseconds.
const CALL_BYTES: usize = 1 << 20;

/// What a call may pass beside a response's head, in bytes.
const BESIDE_HEAD_BYTES: usize = 64 * 1024;

/// What a guest gets of random bytes in one call at most, in bytes: they are made one by one, four
/// nanoseconds each. Programs ask for keys, tens of bytes.
pub(super) const RANDOM_BYTES: u64 = 256 * 1024;

/// What one set of fields of `wasi:http` holds at most, in bytes, with what the host needs for
/// each. Fields of a response that are within `budget.response-head` are within this.
pub(super) const FIELDS_BYTES: usize = 128 * 1024;

/// What the host keeps for a guest's WASI handles (streams, pollables, fields). A request needs a
/// handful. What is behind one is memory of the host's, and no part of the guest's budget:
/// [`FIELDS_BYTES`] at most, or a piece of a body, and so 128 MiB in all.
pub(super) const WASI_HANDLES: usize = 1_000;

/// What is shown of an error in a log, in bytes, with its causes.
const ERROR_BYTES: usize = 4 * 1024;

/// What one call may pass to the host, in bytes.
pub(super) fn call_bytes(budget: &Budget) -> usize {
    CALL_BYTES.max(budget.response_head_bytes.saturating_add(BESIDE_HEAD_BYTES))
}

/// What a function of the application may return, in bytes: a block of the body, or an exception.
pub(super) fn returned_bytes(budget: &Budget) -> usize {
    budget.block_bytes.max(BESIDE_HEAD_BYTES)
}

/// More than a limit allows. A guest that passes it traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLong {
    /// In one call of the host's; so many bytes are allowed.
    Passed(usize),
    /// As a result.
    Returned(usize),
}

impl TooLong {
    /// What a trap is about, if it is about a limit of this module.
    pub(super) fn of(trap: &wasmtime::Error, budget: &Budget) -> Option<Self> {
        if let Some(known) = trap.downcast_ref() {
            return Some(*known);
        }
        // wasmtime's own error has no public type. What a guest passes is read while it runs.
        if !limited(trap.root_cause(), ERROR_BYTES).ends_with(OUT_OF_FUEL) {
            return None;
        }
        Some(match trap.downcast_ref::<WasmBacktrace>() {
            Some(_) => Self::Passed(call_bytes(budget)),
            None => Self::Returned(returned_bytes(budget)),
        })
    }
}

/// The end of what wasmtime says where a component passes more than it may.
const OUT_OF_FUEL: &str = "fuel allocated for hostcalls has been exhausted";

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed(limit) => write!(
                f,
                "passed more than {} KiB to the host in one call: pass it in pieces",
                limit / 1024
            ),
            Self::Returned(limit) => write!(
                f,
                "returned a block of more than {} KiB (budget.block): return the body in several \
                 blocks",
                limit / 1024
            ),
        }
    }
}

impl std::error::Error for TooLong {}

/// Has wasmtime hold a component to these limits: what it passes to a call while it runs, and what
/// it returns at the end, of which there may be more.
pub(super) fn limit_values(
    mut context: StoreContextMut<'_, State>,
    event: CallHook,
) -> wasmtime::Result<()> {
    let budget = &context.data().budget;
    let bytes = match event {
        CallHook::CallingHost => call_bytes(budget),
        CallHook::ReturningFromWasm => returned_bytes(budget),
        CallHook::CallingWasm | CallHook::ReturningFromHost => return Ok(()),
    };
    context.set_hostcall_fuel(bytes);
    Ok(())
}

/// The front of what `value` shows, `bytes` long at most. Nothing behind it is formatted, as far as
/// `value` goes by what its writer says.
pub(super) fn limited(value: &(impl fmt::Display + ?Sized), bytes: usize) -> String {
    let mut front = Front {
        text: String::new(),
        left: bytes,
    };
    // Fails where it is cut.
    let _ = write!(front, "{value}");
    front.text
}

/// An error and its causes in one line, for a log. A guest's stack is not among them: it would be
/// written with all names in it, however long.
pub(super) fn line(error: &wasmtime::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        if limited(cause, STACK_HEADING.len()) == STACK_HEADING {
            continue;
        }
        if !line.is_empty() {
            line.push_str(": ");
        }
        line.push_str(&in_line(&limited(cause, ERROR_BYTES)));
        if line.len() >= ERROR_BYTES {
            break;
        }
    }
    line
}

/// What is behind an error, in one line, for a log.
pub(super) fn cause(error: &wasmtime::Error) -> String {
    in_line(&limited(error.root_cause(), ERROR_BYTES))
}

/// What wasmtime begins a guest's stack with.
const STACK_HEADING: &str = "error while executing at wasm backtrace:";

fn in_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Takes what is written, up to a limit.
struct Front {
    text: String,
    left: usize,
}

impl Write for Front {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let front = printable::front(text, self.left);
        self.text.push_str(front);
        self.left -= front.len();
        match front.len() == text.len() {
            true => Ok(()),
            false => {
                self.left = 0;
                Err(fmt::Error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
