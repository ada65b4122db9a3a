//! The program's command line, without a server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Ended, Process};

/// Builds a command for the program. Its cache folder is one of the tests', so it doesn't use the
/// user's files.
pub(crate) fn wasgi<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasgi"));
    command.args(arguments);
    command.env(
        "XDG_CACHE_HOME",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"),
    );
    command
}

/// Runs the program until it exits.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    Process::start(&mut wasgi(arguments)).wait()
}

/// Returns the folder in which tests cache compiled code: in a debug build, compiling a handler
/// takes longer than most tests.
pub(crate) fn code_cache() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("code")
}
