//! What a load fails with if the process that compiles ends without a result.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;

use super::super::error::LoadError;
use super::child::{Abort, End, Why};
use super::options::CompileOptions;
use crate::printable;
use crate::units::{duration, size};

/// Returns the error for a lack of memory or descriptors, which is not the fault of the file to
/// compile.
pub(super) fn no_room(error: &io::Error) -> LoadError {
    LoadError::shortage(format!("no memory or descriptor to compile it: {error}"))
}

/// Returns the error for a process that doesn't start, which is not the fault of the file to
/// compile.
#[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
pub(super) fn no_process(error: anyhow::Error) -> LoadError {
    LoadError::shortage(format!("{error:#}"))
}

/// Converts a process's refusal of a file into an error.
pub(super) fn refused(text: &str) -> LoadError {
    LoadError::new(printable::one_line(text).to_string())
}

/// Converts a process's lack of a resource into an error.
pub(super) fn short(text: &str) -> LoadError {
    LoadError::shortage(printable::one_line(text).to_string())
}

/// Returns whether a process ended for a reason unrelated to its job, which can then be retried: it
/// exited because it was idle, or a signal that only other processes send killed it.
pub(super) fn is_not_the_jobs_fault(status: ExitStatus) -> bool {
    const OF_OTHERS: [Signal; 7] = [
        Signal::KILL,
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
    ];
    status.success()
        || status
            .signal()
            .and_then(Signal::from_named_raw)
            .is_some_and(|signal| OF_OTHERS.contains(&signal))
}

/// Explains the end of a process to the author of the handler or the operator.
pub(super) fn explain(why: &Why, options: &CompileOptions) -> LoadError {
    let end = match why {
        Why::Cancelled => return LoadError::Cancelled,
        Why::NoRoom(error) => return no_room(error),
        Why::TookTooLong => {
            let limit = duration::show(options.wall_time);
            return LoadError::new(over(&format!("longer than {limit}"), "wall-time"));
        }
        Why::TalkedNonsense => {
            let line = "not loaded: unexpected answer from the process that compiled it";
            return LoadError::new(line);
        }
        Why::Died(end) => end,
    };
    LoadError::new(match end.status.signal().and_then(Signal::from_named_raw) {
        Some(Signal::XCPU) => {
            let limit = duration::show(options.cpu_time);
            over(&format!("more than {limit} of processor time"), "cpu-time")
        }
        Some(Signal::XFSZ) => too_large(options),
        _ => match end.abort() {
            Some(Abort::OutOfMemory) => out_of_memory(options),
            Some(Abort::StackOverflow) => {
                let limit = size::show(options.stack_bytes);
                let what = format!("more than {limit} of stack: it is nested too deeply");
                over(&what, "stack")
            }
            None => died(end),
        },
    })
}

/// Explains the death of a process that exceeded none of our limits.
fn died(end: &End) -> String {
    let words = String::from_utf8_lossy(&end.last_words);
    let last = words.lines().map(str::trim).rfind(|line| !line.is_empty());
    let last = last.map(|line| format!(": {}", printable::one_line(line)));
    let cause = match end.status.signal() {
        Some(signal) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("of no name");
            format!("was killed by signal {signal} ({name})")
        }
        None => format!("ended with exit status {}", end.status.code().unwrap_or(0)),
    };
    let last = last.unwrap_or_default();
    format!("not loaded: the process that compiled it {cause}{last}")
}

/// Returns the line for a process that exceeds its memory.
pub(super) fn out_of_memory(options: &CompileOptions) -> String {
    let limit = size::show(options.address_space_bytes());
    over(&format!("more than {limit} of memory"), "address-space")
}

/// Returns the line for compiled code that exceeds its limit.
pub(super) fn too_large(options: &CompileOptions) -> String {
    let limit = size::show(options.output_bytes);
    format!("not loaded: its compiled code is larger than {limit} (compile.output)")
}

fn over(what: &str, key: &str) -> String {
    format!("not loaded: compiling takes {what} (compile.{key})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died_of(raw_status: i32, last_words: &str) -> String {
        let end = End {
            status: ExitStatus::from_raw(raw_status),
            last_words: last_words.into(),
        };
        explain(&Why::Died(end), &CompileOptions::default()).to_string()
    }

    #[test]
    fn the_line_names_the_limit_that_was_reached() {
        let options = CompileOptions::default();
        let slow = explain(&Why::TookTooLong, &options).to_string();
        assert!(
            slow.contains("longer than 5m (compile.wall-time)"),
            "{slow}"
        );
        let abort = libc::SIGABRT;
        let stack = "thread '<unnamed>' has overflowed its stack\nfatal runtime error\n";
        for (status, words, expected) in [
            (libc::SIGXCPU, "", "2m of processor time (compile.cpu-time)"),
            (libc::SIGXFSZ, "", "larger than 512MiB (compile.output)"),
            (
                abort,
                "memory allocation of 7 bytes failed\n",
                "(compile.address-space)",
            ),
            (
                abort,
                stack,
                "more than 2MiB of stack: it is nested too deeply (compile.stack)",
            ),
            (abort, "a\n\x1b[1mb\n\n", "signal 6 (SIGABRT): \\u{1b}[1mb"),
            (7 << 8, "", "exit status 7"),
        ] {
            let text = died_of(status, words);
            assert!(
                text.starts_with("not loaded: ") && text.contains(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_others_kill_is_tried_again() {
        let again = |status| is_not_the_jobs_fault(ExitStatus::from_raw(status));
        assert!(again(libc::SIGKILL) && again(libc::SIGTERM) && again(0));
        assert!(!again(libc::SIGABRT) && !again(libc::SIGXCPU) && !again(1 << 8));
    }
}
