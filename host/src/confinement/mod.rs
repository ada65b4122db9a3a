//! Takes rights from a process: what the kernel then refuses, whatever the program does.
//!
//! - `landlock`: which files a process can open, and which TCP ports it can connect to.
//! - `seccomp`: which system calls it can use.
//! - `user`: which user it runs as.
//! - [`ConfineMode`]: whether a server does that.
//! - `programs`: the files that starting this program again needs.
//!
//! Landlock, seccomp and the user belong to a thread, and new threads inherit them. So a process
//! gives up its rights before it starts its second thread; see [`check_only_thread`].

mod landlock;
mod mode;
mod programs;
mod seccomp;
mod user;

use std::fs;

use anyhow::ensure;

pub(crate) use self::landlock::{FIRST_WITH_PORTS, FileRights, restrict, version};
pub(crate) use self::mode::ConfineMode;
pub(crate) use self::programs::of_this_program;
pub(crate) use self::seccomp::{forbid_unused, install};
pub(crate) use self::user::User;

/// Makes the kernel ignore set-user-ID and similar bits of programs that this thread starts, for
/// good.
///
/// # Errors
///
/// Fails if the kernel doesn't support it.
pub(crate) fn no_new_privileges() -> anyhow::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Checks that this process has no other threads, which would keep their rights.
///
/// # Errors
///
/// Fails if there are others, or if the system doesn't say.
pub(crate) fn check_only_thread() -> anyhow::Result<()> {
    let count = fs::read_dir("/proc/self/task")?.count();
    ensure!(
        count == 1,
        "rights can't be given up: {count} threads have started"
    );
    Ok(())
}
