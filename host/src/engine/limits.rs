//! The limits on values that a guest passes to the host, and on requests that it makes, in one
//! place. Each is checked before the value is copied, formatted or traversed, so that no call
//! occupies the reactor's thread for long: `tests` makes every available call with the largest
//! values.
//!
//! | what | limit | where it is checked |
//! |---|---|---|
//! | the values of one call | [`call_bytes`] | wasmtime (`hostcall_fuel`), or `direct::lift` |
//! | an application's result | [`returned_bytes`] | wasmtime (`hostcall_fuel`), or `direct::lift` |
//! | a response's head | `budget.response-head` | `gateway::response` |
//! | an exception's texts | `gateway::failure` | when the exception is recorded |
//! | log output | `budget.log` | `guest_log` |
//! | random bytes, fields, handles | here | `wasmtime-wasi`, `wasmtime-wasi-http` |
//! | names in a stack trace | `backtrace` | `backtrace` |

use std::fmt::{self, Write};

use wasmtime::WasmBacktrace;

use crate::policy::Budget;
use crate::printable;

/// The default limit of all values that one call passes to the host, in bytes: its strings and
/// lists, with each list entry counted at its size in the host. A response head can be larger, and
/// raises the limit of its calls.
///
/// A guest writes 64 KiB at a time to a WASI stream, and logs less than that per request. The
/// slowest operation on a megabyte takes some milliseconds.
const CALL_BYTES: usize = 1 << 20;

/// The additional amount that a call may pass besides a response head, in bytes.
const BESIDE_HEAD_BYTES: usize = 64 * 1024;

/// The maximum number of random bytes per call: they are generated one by one, four nanoseconds
/// each. Programs request keys, tens of bytes.
pub(super) const RANDOM_BYTES: u64 = 256 * 1024;

/// The maximum size of one set of `wasi:http` fields, in bytes, including the host's overhead for
/// each field. Response fields within `budget.response-head` are within this limit.
pub(super) const FIELDS_BYTES: usize = 128 * 1024;

/// The maximum number of a guest's WASI handles (streams, pollables, fields). A request needs a
/// handful. The values behind handles are in the host's memory and not part of the guest's budget:
/// each at most [`FIELDS_BYTES`] or a piece of a body, so 128 MiB in total.
pub(super) const WASI_HANDLES: usize = 1_000;

/// The maximum number of handles of a component, or of an application that is called directly, at
/// one time, including those that the host holds: wasmtime's default. A request to a handler of the
/// contract needs three.
pub(super) const HANDLES: usize = 100_000;

/// The maximum length of an error with its causes in a log, in bytes.
const ERROR_BYTES: usize = 4 * 1024;

/// The limit of all values that one call passes to the host, in bytes, for a handler with
/// key-value buckets: the largest batch and its keys, so that what exceeds a limit of a bucket is
/// an error and no trap.
pub(super) const BUCKET_CALL_BYTES: usize = 8 << 20;

/// Returns the limit of all values that one call passes to the host, in bytes.
pub(super) fn call_bytes(budget: &Budget) -> usize {
    CALL_BYTES.max(budget.response_head_bytes.saturating_add(BESIDE_HEAD_BYTES))
}

/// Returns the limit of the result of an application's function, in bytes: a block of the body, or
/// an exception.
pub(super) fn returned_bytes(budget: &Budget) -> usize {
    budget.block_bytes.max(BESIDE_HEAD_BYTES)
}

/// A value that exceeds a limit. The guest traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TooLong {
    /// Passed in a call to the host; contains the limit in bytes.
    Passed(usize),
    /// Returned as a result; contains the limit in bytes.
    Returned(usize),
}

impl TooLong {
    /// Returns the limit of this module that caused a trap, if any. `call_bytes` is the limit of
    /// the values of one call.
    pub(super) fn from_trap(
        trap: &wasmtime::Error,
        call_bytes: usize,
        budget: &Budget,
    ) -> Option<Self> {
        if let Some(known) = trap.downcast_ref() {
            return Some(*known);
        }
        // wasmtime's own error has no public type: a test of this module holds its text. It is
        // raised for passed values while the guest runs.
        if !limited(trap.root_cause(), ERROR_BYTES).ends_with(OUT_OF_FUEL) {
            return None;
        }
        Some(match trap.downcast_ref::<WasmBacktrace>() {
            Some(_) => Self::Passed(call_bytes),
            None => Self::Returned(returned_bytes(budget)),
        })
    }
}

/// The end of wasmtime's message when a component exceeds the limit.
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

/// Returns the first `bytes` bytes of the text of `value`. Formatting stops there if the `Display`
/// implementation respects errors from its writer.
pub(super) fn limited(value: &(impl fmt::Display + ?Sized), bytes: usize) -> String {
    let mut front = Front {
        text: String::new(),
        left: bytes,
    };
    // Fails at the limit.
    let _ = write!(front, "{value}");
    front.text
}

/// Formats an error and its causes in one line, for a log. Omits a guest's stack trace, which would
/// contain all names at any length.
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

/// Formats the root cause of an error in one line, for a log.
pub(super) fn cause(error: &wasmtime::Error) -> String {
    in_line(&limited(error.root_cause(), ERROR_BYTES))
}

/// The start of a guest's stack trace in wasmtime's errors.
const STACK_HEADING: &str = "error while executing at wasm backtrace:";

fn in_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A writer that stops at a limit.
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
