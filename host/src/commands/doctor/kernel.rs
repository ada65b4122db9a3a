//! Features of the kernel that the server uses.

use std::fs;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::confinement;
use crate::engine::MIN_MAPPINGS;
use crate::server::BACKLOG;

const GROUP: &str = "kernel";

/// The first version of Linux whose `ioctl` `PAGEMAP_SCAN` says which pages a guest has changed.
const PAGEMAP_SCAN_SINCE: (u32, u32) = (6, 7);

/// The limit on open files below which a busy server may run out of them: some connections, files
/// and handlers at once.
const MIN_DESCRIPTORS: u64 = 4_096;

/// The value of `vm.overcommit_memory` that refuses memory which isn't there yet.
const NEVER_OVERCOMMIT: &str = "2";

pub(super) fn findings() -> Vec<Finding> {
    vec![
        openat2(),
        pagemap_scan(),
        landlock(),
        seccomp(),
        overcommit(),
        mappings(),
        backlog(),
        descriptors(),
    ]
}

fn openat2() -> Finding {
    let opened = rustix::fs::openat2(
        CWD,
        ".",
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH,
    );
    Finding::ok_or_warn(
        GROUP,
        "openat2",
        (
            opened.is_ok(),
            "there: the kernel confines pages to their folder",
        ),
        (
            "missing: symbolic links among the pages are not followed",
            "use Linux 5.6 or later, or allow the system call in the container's seccomp profile",
        ),
    )
}

fn pagemap_scan() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let is_there = version(release).is_some_and(|version| version >= PAGEMAP_SCAN_SINCE);
    Finding::ok_or_warn(
        GROUP,
        "PAGEMAP_SCAN",
        (is_there, "there: memory is reset page by page"),
        (
            &format!("not in Linux {release}: a request with much memory costs more"),
            "use Linux 6.7 or later",
        ),
    )
}

/// Returns major and minor version of a kernel's release: `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn landlock() -> Finding {
    const NAME: &str = "Landlock";
    match confinement::version() {
        Ok(version) if version >= confinement::FIRST_WITH_PORTS => {
            let what = format!("version {version}: compilers, and a confined server, lose rights");
            Finding::ok(GROUP, NAME, &what)
        }
        Ok(version) => {
            let what = format!("version {version}: server.confine can't restrict connections");
            Finding::warn(GROUP, NAME, &what, "use Linux 6.7 or later")
        }
        Err(_) => Finding::warn(
            GROUP,
            NAME,
            "missing: what compiles handlers could open the server's files if it had a fault, and \
             server.confine = \"required\" doesn't start",
            "use Linux 5.13 or later, with `landlock` in the kernel's `lsm=`",
        ),
    }
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    let is_there = actions.is_ok_and(|actions| actions.contains("errno"));
    Finding::ok_or_warn(
        GROUP,
        "seccomp",
        (is_there, "there: compilers have few system calls"),
        (
            "missing: what compiles handlers has all system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    )
}

fn overcommit() -> Finding {
    let value = fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap_or_default();
    Finding::ok_or_warn(
        GROUP,
        "vm.overcommit",
        (
            value.trim() != NEVER_OVERCOMMIT,
            "address space can be reserved for handlers",
        ),
        (
            "vm.overcommit_memory is 2: reserving address space for handlers may fail",
            "`sysctl vm.overcommit_memory=0`, or fewer concurrent requests",
        ),
    )
}

/// Checks that the largest pool's instances can be mapped at once.
fn mappings() -> Finding {
    let found = setting("vm/max_map_count");
    Finding::ok_or_warn(
        GROUP,
        "vm.max_map_count",
        (
            found.is_none_or(|found| found >= MIN_MAPPINGS),
            "enough for the most requests in flight",
        ),
        (
            &format!(
                "{}: with thousands of requests in flight, further ones fail",
                found.unwrap_or_default()
            ),
            &format!("`sysctl vm.max_map_count={MIN_MAPPINGS}`"),
        ),
    )
}

/// Checks that the kernel doesn't shorten the queues of new connections.
fn backlog() -> Finding {
    let found = setting("net/core/somaxconn");
    let needed = u64::from(BACKLOG.unsigned_abs());
    Finding::ok_or_warn(
        GROUP,
        "net.core.somaxconn",
        (
            found.is_none_or(|found| found >= needed),
            "the queues of new connections have their full length",
        ),
        (
            &format!(
                "{}: a burst of more new connections waits for a second or longer",
                found.unwrap_or_default()
            ),
            &format!("`sysctl net.core.somaxconn={needed}`"),
        ),
    )
}

/// Returns a number of the kernel's settings, if it has it.
fn setting(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.trim().parse().ok()
}

fn descriptors() -> Finding {
    let limit = getrlimit(Resource::Nofile).maximum;
    let shown = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    Finding::ok_or_warn(
        GROUP,
        "open files",
        (
            limit.is_none_or(|limit| limit >= MIN_DESCRIPTORS),
            &format!("the limit is {shown}"),
        ),
        (
            &format!("the limit is {shown}, and each connection needs one"),
            "raise it: LimitNOFILE= of a systemd unit, or `ulimit -Hn`",
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_a_version() {
        assert_eq!(version("6.1.0-18-amd64"), Some((6, 1)));
        assert_eq!(version("6.12"), Some((6, 12)));
        assert!(version("6.10.2") >= Some(PAGEMAP_SCAN_SINCE));
        assert_eq!(version("x"), None);
    }
}
