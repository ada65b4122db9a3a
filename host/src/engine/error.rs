//! Why a file can't be loaded as a program.

use std::fmt;
use std::io;

use rustix::io::Errno;

use super::limits::line;
use crate::reload::Shortage;

/// Why a file can't run as a program: one line for its author, which says what to do.
#[derive(Debug)]
pub struct LoadError {
    line: String,
    is_shortage: bool,
}

impl LoadError {
    /// Creates an error that is the file's fault.
    pub(super) fn new(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            is_shortage: false,
        }
    }

    /// Creates an error from a line about an error of the system.
    pub(super) fn of_io(line: impl Into<String>, error: &io::Error) -> Self {
        let errno = Errno::from_io_error(error);
        Self {
            line: line.into(),
            is_shortage: errno.is_some_and(|errno| Shortage::ERRNOS.contains(&errno)),
        }
    }

    /// Creates an error for a lack of processes, threads, memory or descriptors, which can be
    /// temporary.
    pub(super) fn shortage(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            is_shortage: true,
        }
    }

    /// Creates an error from a line that may contain the system's text, for errors of wasmtime,
    /// which keep no error number. The line must come from this process, not from a compiling one,
    /// whose memory is limited, and which has reported all that a file's own names can cause.
    pub(super) fn of_system(line: impl Into<String>) -> Self {
        let line = line.into();
        let is_shortage = Shortage::ERRNOS.iter().any(|errno| {
            // The format of the standard library and `rustix`.
            line.contains(&format!("(os error {})", errno.raw_os_error()))
        });
        Self { line, is_shortage }
    }

    /// Creates an error for compiled code that can't be mapped or prepared in this process.
    #[allow(clippy::needless_pass_by_value, reason = "as map_err gives it")]
    pub(super) fn unprepared(error: wasmtime::Error) -> Self {
        Self::of_system(format!("can't be prepared: {}", line(&error)))
    }

    /// Returns whether loading the unchanged file may succeed later.
    pub(super) fn is_shortage(&self) -> bool {
        self.is_shortage
    }

    /// Returns the error with `what` in front of its line.
    pub(super) fn within(self, what: &str) -> Self {
        Self {
            line: format!("{what}: {}", self.line),
            ..self
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
        f.write_str(&self.line)
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_has_too_little_of_is_told_from_what_is_wrong_with_a_file() {
        for (errno, is_shortage) in [
            (Errno::AGAIN, true),
            (Errno::NOMEM, true),
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOENT, false),
            (Errno::INVAL, false),
        ] {
            let error = LoadError::from(&io::Error::from(errno));
            assert_eq!(error.is_shortage(), is_shortage, "{error}");
            let error = error.within("not loaded");
            assert_eq!(error.is_shortage(), is_shortage, "{error}");
        }
    }
}
