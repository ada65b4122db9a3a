//! Confines a compiling process: it may read one file and write one, both given to it, and compute.
//! It drops all other rights before it reads a handler's bytes.
//!
//! Resource limits on memory, files and descriptors are always available. Landlock (Linux 5.13) and
//! seccomp need kernel support, and seccomp's filter supports certain processors only. If they are
//! missing, the process continues with what is available and reports it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getppid, set_parent_process_death_signal};
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::confinement::{FileRights, install, no_new_privileges, restrict};

/// The maximum number of open descriptors: the three standard ones, those of a job, and some
/// temporary ones.
const DESCRIPTORS: u64 = 16;

/// The maximum number of open descriptors of a process that loads a script, which opens files.
const RUNNING_DESCRIPTORS: u64 = 128;

/// The additional address space of a process that loads a script, in bytes: wasmtime's reservation
/// for the interpreter's memory (`pools::settings`), including guard pages. That memory has a
/// separate limit.
const RESERVED_BYTES: u64 = 5 << 30;

/// The niceness relative to serving processes (nice(2)): it gets a third of their processor time if
/// both want all of it.
const NICE: i32 = 5;

/// Makes the kernel prefer to kill this process when memory runs out, because its work can be
/// repeated (proc_pid_oom_score_adj(5)).
const OUT_OF_MEMORY_SCORE: &str = "1000";

/// Makes the kernel kill this process when the thread that started it ends.
///
/// # Errors
///
/// Fails if that thread has ended already, or this process has another parent.
pub(super) fn follow(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .context("could not ask to be killed with the server")?;
    // Check afterwards: if the parent ended in between, there would be no signal.
    ensure!(
        getppid() == Pid::from_raw(parent),
        "process {parent} is not the parent of this one (this command is the server's own)"
    );
    Ok(())
}

/// Returns the descriptors that this process has inherited from the program that started the
/// server, except the three standard ones. The server's own descriptors are closed on exec. Must be
/// called before this process opens any.
pub(super) fn inherited_descriptors() -> Vec<u32> {
    let Ok(open) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let open: Vec<u32> = open
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|number| *number > 2)
        .collect();
    // Exclude the descriptor that the list was read from.
    let is_open = |number: &u32| fs::read_link(format!("/proc/self/fd/{number}")).is_ok();
    open.into_iter().filter(is_open).collect()
}

/// Limits this process: its address space, and the size of a file that it writes. A process that
/// `runs` a script needs more.
///
/// # Errors
///
/// Fails if a limit can't be set.
pub(super) fn limit(memory_bytes: u64, output_bytes: u64, runs: bool) -> anyhow::Result<()> {
    let (memory_bytes, descriptors) = match runs {
        true => (
            memory_bytes.saturating_add(RESERVED_BYTES),
            RUNNING_DESCRIPTORS,
        ),
        false => (memory_bytes, DESCRIPTORS),
    };
    for (resource, most, name) in [
        (Resource::As, memory_bytes, "memory"),
        (Resource::Fsize, output_bytes, "the size of files"),
        (Resource::Nofile, descriptors, "descriptors"),
        (Resource::Core, 0, "core dumps"),
    ] {
        // The server may have been started with a lower limit, which can't be raised.
        let inherited = rustix::process::getrlimit(resource).maximum;
        let most = inherited.map_or(most, |inherited| inherited.min(most));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        rustix::process::setrlimit(resource, limit)
            .with_context(|| format!("could not limit {name}"))?;
    }
    // Both are optional.
    let _ = rustix::process::nice(NICE);
    let _ = fs::write("/proc/self/oom_score_adj", OUT_OF_MEMORY_SCORE);
    Ok(())
}

/// Drops this thread's rights, and those of threads that it starts, to files, network, other
/// processes, the inherited descriptors, and most system calls. The contents of `folders` remain
/// readable. Returns a line for each mechanism that this system doesn't support.
pub(super) fn confine(inherited: &[u32], runs: bool, folders: &[PathBuf]) -> Vec<String> {
    [
        ("no new privileges", no_new_privileges()),
        ("Landlock", landlock(folders)),
        ("seccomp", seccomp(inherited, runs)),
    ]
    .into_iter()
    .filter_map(|(name, result)| {
        let error = result.err()?;
        Some(format!("compiling without {name}: {error:#}"))
    })
    .collect()
}

/// Denies all files and folders except reading in `folders`; denies TCP ports and signals to other
/// processes.
fn landlock(folders: &[PathBuf]) -> anyhow::Result<()> {
    let rights = FileRights {
        read: folders.to_vec(),
        ..FileRights::default()
    };
    restrict(&rights, Some(&[]))?;
    Ok(())
}

/// Allows only the system calls that computing needs. Others fail as if the kernel didn't support
/// them, so that the C library falls back to older ones.
fn seccomp(inherited: &[u32], runs: bool) -> anyhow::Result<()> {
    install(
        rules(inherited, runs)?,
        SeccompAction::Errno(libc::ENOSYS as u32),
        SeccompAction::Allow,
    )
}

/// System calls whose first argument is a descriptor: for the channel, and the files of a job.
const WITH_DESCRIPTOR: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
];

/// System calls that are allowed with any arguments.
const ALLOWED: &[libc::c_long] = &[
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Time and sleep.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    // Hash table seeds.
    libc::SYS_getrandom,
];

/// System calls for reading files.
const OF_FILES: &[libc::c_long] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_preadv,
    libc::SYS_dup3,
];

fn rules(inherited: &[u32], runs: bool) -> anyhow::Result<BTreeMap<i64, Vec<SeccompRule>>> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // The descriptor of `mmap` is its fifth argument.
    let first = WITH_DESCRIPTOR.iter().map(|call| (*call, 0));
    for (call, argument) in first.chain([(libc::SYS_mmap, 4)]) {
        rules.insert(call, none_of(argument, inherited)?);
    }
    let dword = SeccompCmpArgLen::Dword;
    let only = |argument, operator, value: u64| -> anyhow::Result<Vec<SeccompRule>> {
        let condition = SeccompCondition::new(argument, dword.clone(), operator, value)?;
        Ok(vec![SeccompRule::new(vec![condition])?])
    };
    // Threads only, not processes. `clone3` has its flags in memory, where no filter can read them:
    // without it, the C library uses `clone`.
    let thread = libc::CLONE_THREAD as u64;
    let threads = only(0, SeccompCmpOp::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, threads);
    // Only to set a thread's name.
    let name = only(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?;
    rules.insert(libc::SYS_prctl, name);
    // Only the size of an open file, not of a path: this flag must be the only one.
    let open = libc::AT_EMPTY_PATH as u64;
    rules.insert(libc::SYS_statx, only(2, SeccompCmpOp::Eq, open)?);
    rules.insert(libc::SYS_newfstatat, only(3, SeccompCmpOp::Eq, open)?);
    // Its own limits: 0 is the calling process.
    rules.insert(libc::SYS_prlimit64, only(0, SeccompCmpOp::Eq, 0)?);
    if runs {
        // Landlock decides which files can be opened.
        rules.extend(OF_FILES.iter().map(|call| (*call, Vec::new())));
    }
    // To abort itself, as after a stack overflow.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, only(0, SeccompCmpOp::Eq, own)?);
    Ok(rules)
}

/// Returns rules that exclude these descriptors from a system call's argument.
fn none_of(argument: u8, descriptors: &[u32]) -> anyhow::Result<Vec<SeccompRule>> {
    if descriptors.is_empty() {
        return Ok(Vec::new());
    }
    let conditions: Result<Vec<_>, _> = descriptors
        .iter()
        .map(|number| {
            let (length, operator) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Ne);
            SeccompCondition::new(argument, length, operator, u64::from(*number))
        })
        .collect();
    Ok(vec![SeccompRule::new(conditions?)?])
}

/// Makes the kernel end this process after `more` processor time from now on.
///
/// # Errors
///
/// Fails if the server was started with a lower limit.
pub(super) fn renew_cpu_time(more: std::time::Duration) -> io::Result<()> {
    use rustix::time::{ClockId, clock_gettime};
    let used = clock_gettime(ClockId::ProcessCPUTime);
    let used = std::time::Duration::new(
        u64::try_from(used.tv_sec).unwrap_or(0),
        u32::try_from(used.tv_nsec).unwrap_or(0),
    );
    // The kernel counts whole seconds.
    let most = (used + more).as_millis().div_ceil(1000);
    let limit = Rlimit {
        current: Some(u64::try_from(most).unwrap_or(u64::MAX)),
        maximum: rustix::process::getrlimit(Resource::Cpu).maximum,
    };
    Ok(rustix::process::setrlimit(Resource::Cpu, limit)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::thread;

    use super::*;

    fn memory_file() -> File {
        File::from(super::super::protocol::memory_file().expect("a file"))
    }

    #[test]
    fn what_is_open_beyond_the_standard_descriptors_is_found() {
        let file = memory_file();
        let number = u32::try_from(file.as_raw_fd()).expect("it is open");
        assert!(inherited_descriptors().contains(&number));
        assert!(inherited_descriptors().iter().all(|number| *number > 2));
    }

    /// Runs a part of a test on a separate thread, so that only that thread loses its rights.
    fn confined(part: impl FnOnce() + Send + 'static) {
        thread::spawn(part).join().expect("no panic");
    }

    #[test]
    fn landlock_takes_files_and_ports() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        confined(move || {
            no_new_privileges().expect("every Linux has it");
            if let Err(error) = landlock(&[]) {
                return println!("not tested: {error:#}");
            }
            let error = fs::read("/proc/self/status").expect_err("a file");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(fs::read_dir("/").is_err());
            // From Linux 6.7 on.
            if let Err(error) = TcpStream::connect(addr) {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            }
        });
    }

    #[test]
    fn seccomp_leaves_threads_and_memory_and_no_more() {
        let (mut ours, mut inherited) = (memory_file(), memory_file());
        let parent = getppid();
        confined(move || {
            let number = u32::try_from(inherited.as_raw_fd()).expect("it is open");
            if let Err(error) = seccomp(&[number], false) {
                return println!("not tested: {error:#}");
            }
            assert!(ours.write_all(b"a").is_ok());
            assert_eq!(ours.metadata().expect("its size").len(), 1);
            assert!(inherited.write_all(b"a").is_err() && inherited.read(&mut [0]).is_err());
            let sum = thread::spawn(|| vec![1_u64; 1 << 20].iter().sum::<u64>()).join();
            assert_eq!(sum.expect("a thread"), 1 << 20);
            let unknown = Some(libc::ENOSYS);
            let error = fs::read("/proc/self/status").expect_err("a file");
            assert_eq!(error.raw_os_error(), unknown);
            let error = UnixStream::pair().expect_err("a socket");
            assert_eq!(error.raw_os_error(), unknown);
            assert!(Command::new("/bin/true").status().is_err());
            let other = Pid::INIT;
            assert!(rustix::process::test_kill_process(other).is_err());
            let limit = rustix::process::getrlimit(Resource::Cpu);
            assert!(rustix::process::prlimit(parent, Resource::Cpu, limit).is_err());
            renew_cpu_time(std::time::Duration::from_secs(3600)).expect("its own limit");
        });
        let limit = Rlimit {
            current: None,
            maximum: rustix::process::getrlimit(Resource::Cpu).maximum,
        };
        rustix::process::setrlimit(Resource::Cpu, limit).expect("as it was");
    }
}
