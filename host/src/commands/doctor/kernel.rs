//! Features of the kernel that the server uses.

use std::fs;

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::process::{Resource, getrlimit};

use super::finding::Finding;

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
    // Creating a set of rules restricts nothing yet.
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(Ruleset::create);
    Finding::ok_or_warn(
        GROUP,
        "Landlock",
        (created.is_ok(), "there: compilers can't open files"),
        (
            "missing: what compiles handlers could open the server's files if it had a fault",
            "use Linux 5.13 or later, with `landlock` in the kernel's `lsm=`",
        ),
    )
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
