//! The program's command line, without a server.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use super::process::{Ended, Process};

/// The program, compiled code kept in a folder of the tests: in a debug build, compiling a handler
/// takes longer than most tests.
pub(crate) fn wasgi<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasgi"));
    command.args(arguments);
    command
}

/// Runs the program to its end.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    Process::start(&mut wasgi(arguments)).wait()
}

/// Where the tests have compiled code kept.
pub(crate) fn code_cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("code")
}
