//! Loads that fail for a temporary lack of a resource.

use std::fmt;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

/// The minimum and maximum pause before a load is retried after a shortage; the pause doubles each
/// time. A retry costs the hash of a file, and a shortage of processes or descriptors lasts seconds
/// or hours.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(64);

/// The system had no process, thread, memory or descriptor to load a file. That is not the file's
/// fault, so the load is retried after increasing pauses. A [loader's](super::Load::load) error of
/// this type reports a shortage.
#[derive(Debug)]
pub(crate) struct Shortage(String);

impl Shortage {
    /// Creates a shortage from a line that names the missing resource.
    pub(crate) fn new(line: impl Into<String>) -> Shortage {
        Shortage(line.into())
    }

    /// The system's errors for a lack of processes or threads, memory, or descriptors.
    pub(crate) const ERRNOS: [Errno; 4] = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE];

    /// Returns whether a shortage caused an error.
    pub(super) fn is_cause_of(error: &anyhow::Error) -> bool {
        let is_short = |errno| Self::ERRNOS.contains(&errno);
        error.chain().any(|cause| {
            let of_io = cause.downcast_ref::<io::Error>();
            let errno = of_io.and_then(Errno::from_io_error);
            cause.is::<Shortage>()
                || errno.is_some_and(is_short)
                || cause.downcast_ref().copied().is_some_and(is_short)
        })
    }
}

/// Returns the pause after this many consecutive failures, at least one.
pub(super) fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LAST_PAUSE)
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Shortage {}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn shortages_are_told_from_other_errors() {
        let of_errno = |errno: Errno| {
            let result: rustix::io::Result<()> = Err(errno);
            result.context("can't be opened").unwrap_err()
        };
        let of_io = |errno: Errno| anyhow!(io::Error::from(errno)).context("no thread");
        for errno in [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert!(Shortage::is_cause_of(&of_errno(errno)), "{errno}");
            assert!(Shortage::is_cause_of(&of_io(errno)), "{errno}");
        }
        assert!(Shortage::is_cause_of(&Shortage::new("no process").into()));
        assert!(!Shortage::is_cause_of(&of_errno(Errno::ACCESS)));
        assert!(!Shortage::is_cause_of(&of_io(Errno::ISDIR)));
        assert!(!Shortage::is_cause_of(&anyhow!("does not compile")));
    }

    #[test]
    fn pauses_become_longer_up_to_a_limit() {
        let pauses = [1, 2, 3, 7, 8, 1_000, u32::MAX].map(|failures| pause(failures).as_secs());
        assert_eq!(pauses, [1, 2, 4, 64, 64, 64, 64]);
    }
}
