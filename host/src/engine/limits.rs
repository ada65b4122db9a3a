//! What may cross from a guest, and what it may ask the host for: every limit of a value, in one
//! place. Each is checked before the value is copied, formatted or walked, so that no call keeps
//! the reactor's thread for long.

use std::fmt::{self, Write};

use crate::printable;

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
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_is_cut_is_not_formatted() {
        let written = Cell::new(0);
        let endless = fmt::from_fn(|f| {
            loop {
                written.set(written.get() + 1);
                f.write_str("é")?;
            }
        });
        assert_eq!(limited(&endless, 7), "ééé");
        assert_eq!(written.get(), 4);
        assert_eq!(limited("abc", 3), "abc");
        assert_eq!(limited("abc", 2), "ab");
    }

    #[test]
    fn a_line_has_every_cause_and_no_stack() {
        let error = wasmtime::Error::msg("the\ncause");
        let error = error.context(format!("{STACK_HEADING}\n 0: a!b"));
        let error = error.context("what was done");
        assert_eq!(line(&error), "what was done: the cause");
        assert_eq!(cause(&error), "the cause");
        let long = wasmtime::Error::msg("x".repeat(1 << 20));
        assert_eq!(line(&long).len(), ERROR_BYTES);
    }
}
