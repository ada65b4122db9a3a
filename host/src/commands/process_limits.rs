//! The limits that the system has for this process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use signal_hook::consts::SIGXFSZ;

/// Raises the limit on file descriptors, one of which each connection needs, to the hard limit. The
/// usual soft limit of 1,024 exists for programs that use `select`.
///
/// # Errors
///
/// Fails with the line for the log if the system refuses.
pub(super) fn raise_descriptor_limit() -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        let current = limit.current;
        format!("the limit on open files stays at {current:?}: {error}")
    })
}

/// Makes a write beyond the process's limit on the size of files (RLIMIT_FSIZE) an error of this
/// write. Otherwise, SIGXFSZ would end the process.
pub(super) fn ignore_file_size_signal() -> anyhow::Result<()> {
    let flag = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGXFSZ, flag).context("could not watch for signals")?;
    Ok(())
}
