//! The memory of the machine, or of the container that the process runs in.

use std::fs;
use std::path::{Component, Path};

/// Returns the memory limit for this process and the others in its control groups, in bytes: the
/// machine's memory, or a lower limit of a control group. None if the system does not report it.
pub(crate) fn memory_bytes() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let groups = group_limits(Path::new("/sys/fs/cgroup"), &read("/proc/self/cgroup"));
    machine_bytes(&read("/proc/meminfo"))
        .into_iter()
        .chain(groups)
        .min()
}

/// Parses `MemTotal` of `/proc/meminfo` (proc(5)), which is in kibibytes.
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Returns the limits of the process's control groups and their ancestors: `memory.max` of version
/// 2, `memory.limit_in_bytes` of version 1 (cgroups(7)). `own` is the content of
/// `/proc/self/cgroup`.
fn group_limits(root: &Path, own: &str) -> Vec<u64> {
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (mount, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|one| one == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut group = mount.clone();
        // A container may see its own group as the root, regardless of the path.
        limits.extend(limit(&group.join(file)));
        for part in Path::new(path).components() {
            if let Component::Normal(part) = part {
                group.push(part);
                limits.extend(limit(&group.join(file)));
            }
        }
    }
    limits
}

/// Reads a limit in bytes. None for `max`, and if the file does not exist.
fn limit(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let meminfo = "MemTotal:       24683520 kB\nMemFree:  1 kB\n";
        assert_eq!(machine_bytes(meminfo), Some(24_683_520 * 1024));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
        assert!(memory_bytes().is_some_and(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn limits_of_all_ancestor_groups_are_returned() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("a/b")).expect("made");
        fs::create_dir_all(root.join("memory/c")).expect("made");
        let write = |file: &str, text: &str| fs::write(root.join(file), text).expect("written");
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/c/memory.limit_in_bytes", "500\n");
        assert_eq!(group_limits(root, "0::/a/b\n"), [1000]);
        assert!(group_limits(root, "0::/\n0::/../x\n").is_empty());
        let old = "5:cpu,memory:/c\n4:cpu:/c\n";
        assert_eq!(group_limits(root, old), [9_223_372_036_854_771_712, 500]);
    }
}
