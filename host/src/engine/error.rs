//! Why a file can't be loaded as a program.

use std::fmt;
use std::io;

use rustix::io::Errno;

use super::limits::line;
use crate::reload::Shortage;

/// Why a file can't run as a program: one line for its author, which says what to do.
#[derive(Debug)]
pub enum LoadError {
    /// The file can't run here, or exceeds a limit.
    File(String),
    /// The system lacked a process, thread, descriptor or memory, which can be temporary: loading
    /// the unchanged file may succeed later. With the system's error, if it gave one.
    Shortage(Option<Errno>, String),
    /// The load was cancelled, because its result is not needed any more.
    Cancelled,
}

impl LoadError {
    /// Creates an error that is the file's fault.
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self::File(line.into())
    }

    /// Creates an error for a shortage of the system that has no error number.
    pub(super) fn shortage(line: impl Into<String>) -> Self {
        Self::Shortage(None, line.into())
    }

    /// Creates an error from a line about an error of the system.
    pub(super) fn of_io(line: impl Into<String>, error: &io::Error) -> Self {
        Self::of_errno(line.into(), Errno::from_io_error(error))
    }

    /// Creates an error from a line about an error of wasmtime, which the system may have caused.
    pub(super) fn of_wasmtime(line: impl Into<String>, error: &wasmtime::Error) -> Self {
        let errno = error.chain().find_map(|cause| {
            let of_io = cause.downcast_ref().and_then(Errno::from_io_error);
            of_io.or_else(|| cause.downcast_ref().copied())
        });
        Self::of_errno(line.into(), errno)
    }

    /// Creates an error for compiled code that can't be mapped or prepared in this process.
    #[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
    pub(super) fn unprepared(error: wasmtime::Error) -> Self {
        Self::of_wasmtime(format!("can't be prepared: {}", line(&error)), &error)
    }

    /// Creates an error for bytes that don't compile.
    #[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
    pub(super) fn uncompiled(error: wasmtime::Error) -> Self {
        let why = line(&error);
        Self::of_wasmtime(
            format!("does not compile: {why} (is the file whole?)"),
            &error,
        )
    }

    fn of_errno(line: String, errno: Option<Errno>) -> Self {
        match errno.filter(|errno| Shortage::ERRNOS.contains(errno)) {
            Some(errno) => Self::Shortage(Some(errno), line),
            None => Self::File(line),
        }
    }

    /// Returns the error with `what` in front of its line.
    pub(super) fn within(self, what: &str) -> Self {
        match self {
            Self::File(line) => Self::File(format!("{what}: {line}")),
            Self::Shortage(errno, line) => Self::Shortage(errno, format!("{what}: {line}")),
            Self::Cancelled => Self::Cancelled,
        }
    }
}

impl From<&io::Error> for LoadError {
    fn from(error: &io::Error) -> Self {
        Self::of_io(error.to_string(), error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(line) | Self::Shortage(_, line) => f.write_str(line),
            Self::Cancelled => f.write_str("not loaded: cancelled"),
        }
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORTAGES: [(Errno, bool); 6] = [
        (Errno::AGAIN, true),
        (Errno::NOMEM, true),
        (Errno::MFILE, true),
        (Errno::NFILE, true),
        (Errno::NOENT, false),
        (Errno::INVAL, false),
    ];

    fn is_shortage(error: &LoadError) -> bool {
        matches!(error, LoadError::Shortage(..))
    }

    #[test]
    fn what_the_system_has_too_little_of_is_told_from_what_is_wrong_with_a_file() {
        for (errno, wanted) in SHORTAGES {
            let error = LoadError::from(&io::Error::from(errno));
            assert_eq!(is_shortage(&error), wanted, "{error}");
            let error = error.within("not loaded");
            assert_eq!(is_shortage(&error), wanted, "{error}");
        }
    }

    #[test]
    fn a_shortage_below_an_error_of_wasmtime_is_found_without_its_text() {
        for (errno, wanted) in SHORTAGES {
            let of_rustix = wasmtime::Error::from(errno).context("mmap failed");
            let of_std = wasmtime::Error::from(io::Error::from(errno)).context("no file");
            for error in [of_rustix, of_std] {
                let error = LoadError::unprepared(error.context("outer"));
                assert_eq!(is_shortage(&error), wanted, "{error}");
            }
        }
        let text = wasmtime::Error::msg("a name such as (os error 12)");
        assert!(!is_shortage(&LoadError::unprepared(text)));
    }
}
