//! What the process takes from the system, under the names that Prometheus' clients use.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::snapshot::{Snapshot, Value};

/// Adds what the process uses to a snapshot. A value that the system doesn't report is left out.
pub(crate) fn collect(into: &mut Snapshot) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    into.add("process_cpu", &[], Value::Counter(seconds));
    let mut gauge = |name, number: Option<u64>| {
        if let Some(number) = number {
            into.add(name, &[], Value::Gauge(number as f64));
        }
    };
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    gauge("process_resident_memory", resident_bytes(&status));
    // The descriptor of the folder is one of them.
    let open = fs::read_dir("/proc/self/fd").ok();
    let open = open.and_then(|open| u64::try_from(open.count()).ok());
    gauge("process_open_fds", open.map(|open| open.saturating_sub(1)));
    gauge("process_max_fds", getrlimit(Resource::Nofile).current);
}

/// Parses `VmRSS` of `/proc/self/status` (proc(5)), which is in kibibytes.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|one| one.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_this_process_uses() {
        let mut snapshot = Snapshot::default();
        collect(&mut snapshot);
        let value = |name| match snapshot.get(name, &[]) {
            Some(Value::Counter(number) | Value::Gauge(number)) => *number,
            other => panic!("{name}: {other:?}"),
        };
        assert!(value("process_cpu") > 0.0);
        assert!(value("process_resident_memory") > 1e6);
        // At least the standard streams.
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") > value("process_open_fds"));
    }

    #[test]
    fn resident_memory_is_in_bytes() {
        assert_eq!(
            resident_bytes("VmHWM:\t 9 kB\nVmRSS:\t   12 kB\n"),
            Some(12 * 1024)
        );
        for bad in [
            "",
            "VmRSS:",
            "VmRSS: x kB",
            "VmRSS: 99999999999999999999 kB",
        ] {
            assert_eq!(resident_bytes(bad), None, "{bad}");
        }
    }
}
