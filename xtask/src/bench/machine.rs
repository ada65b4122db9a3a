//! The machine that the benchmark runs on: its processors, and other users of them.
//!
//! Reads `/proc`; measures nothing itself.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity};

/// The ticks per second in which `/proc` counts CPU time: constant for programs on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The CPU time of other processes above which the report has a note, as a fraction of one
/// processor.
const OTHERS_LIMIT: f64 = 0.05;

/// The processors to measure on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    /// All processors that this process may use.
    pub(super) all: CpuSet,
    /// The server's processors.
    pub(super) server: CpuSet,
    /// The load generator's processors.
    pub(super) load: CpuSet,
    pub(super) count: usize,
}

impl Cores {
    /// Selects the first two processors that this process may use. If there is only one, both share
    /// it.
    pub(super) fn find() -> Result<Self> {
        let all = sched_getaffinity(None).context("can't ask for the processors")?;
        let mut ids = (0..CpuSet::MAX_CPU).filter(|&id| all.is_set(id));
        let first = ids.next().context("there is no processor")?;
        let one = |id| {
            let mut set = CpuSet::new();
            set.set(id);
            set
        };
        Ok(Self {
            all,
            server: one(first),
            load: one(ids.next().unwrap_or(first)),
            count: all.count() as usize,
        })
    }
}

/// The CPU time of the whole machine since its start, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// The time of programs, in user and kernel mode.
    pub(super) used: f64,
    /// The time that the hypervisor gave to other machines.
    pub(super) stolen: f64,
}

impl Usage {
    /// Reads the current values.
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("can't read /proc/stat")?;
        Self::parse(&text).context("/proc/stat is not as expected")
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let mut ticks = line.split_whitespace().map(|word| word.parse::<f64>());
        let mut next = || ticks.next()?.ok();
        let (user, nice, system) = (next()?, next()?, next()?);
        let (_idle, _iowait, _irq, _softirq) = (next()?, next()?, next()?, next()?);
        Some(Self {
            used: (user + nice + system) / TICKS_PER_SECOND,
            stolen: next()? / TICKS_PER_SECOND,
        })
    }
}

/// Disturbances of a measurement, as fractions of one processor.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Noise {
    pub(super) others: f64,
    pub(super) stolen: f64,
}

impl Noise {
    /// Returns the CPU time that other processes used in `seconds`, given that the measured ones
    /// used `own` seconds.
    pub(super) fn between(before: Usage, after: Usage, own: f64, seconds: f64) -> Self {
        Self {
            others: ((after.used - before.used - own) / seconds).max(0.0),
            stolen: ((after.stolen - before.stolen) / seconds).max(0.0),
        }
    }

    /// Returns whether the noise invalidates a figure.
    fn is_loud(self) -> bool {
        self.others > OTHERS_LIMIT || self.stolen > OTHERS_LIMIT
    }

    /// Returns a note for the report if the noise is loud.
    pub(super) fn note(self) -> Option<String> {
        self.is_loud().then(|| {
            format!(
                "**The machine was busy**: other processes used {:.0} % of a processor, and \
                 {:.0} % were stolen by the hypervisor",
                self.others * 100.0,
                self.stolen * 100.0
            )
        })
    }

    pub(super) fn louder(self, other: Self) -> Self {
        Self {
            others: self.others.max(other.others),
            stolen: self.stolen.max(other.stolen),
        }
    }
}

/// Returns the CPU time of this program and of its children that have ended, in seconds.
pub(super) fn own_seconds() -> f64 {
    Stat::read(std::process::id()).map_or(0.0, |stat| stat.cpu_seconds + stat.ended_seconds)
}

/// A process and its descendants.
#[derive(Clone, Debug)]
pub(crate) struct Tree(Vec<u32>);

impl Tree {
    /// Contains only one process.
    pub(crate) fn only(process: u32) -> Self {
        Self(vec![process])
    }

    /// Finds the current descendants of a process.
    pub(crate) fn of(root: u32) -> Self {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Ok(id) = entry.file_name().to_string_lossy().parse()
                && let Some(stat) = Stat::read(id)
            {
                children.entry(stat.parent).or_default().push(id);
            }
        }
        let mut all = vec![root];
        let mut next = 0;
        while let Some(id) = all.get(next) {
            let more = children.remove(id);
            all.extend(more.into_iter().flatten());
            next += 1;
        }
        Self(all)
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.0
    }

    /// Returns the CPU time that they have used, in seconds.
    pub(super) fn cpu_seconds(&self) -> f64 {
        let stats = self.0.iter().filter_map(|&id| Stat::read(id));
        stats.map(|stat| stat.cpu_seconds).sum()
    }

    /// Returns their resident memory, in KiB. Shared memory is counted for each.
    pub(crate) fn resident_kib(&self) -> f64 {
        let texts = self.0.iter();
        let texts = texts.filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok());
        texts.filter_map(|text| resident_kib(&text)).sum()
    }
}

fn resident_kib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The state of a process in `/proc/PID/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    parent: u32,
    cpu_seconds: f64,
    /// The CPU time of its children that have ended.
    ended_seconds: f64,
}

impl Stat {
    fn read(id: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name is in parentheses, and may contain spaces and parentheses.
        let (_, fields) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            ended_seconds: (ticks(13)? + ticks(14)?) / TICKS_PER_SECOND,
        })
    }
}

/// Returns a description of the machine for the report.
pub(super) fn describe(cores: &Cores) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut models = cpuinfo.lines().filter_map(|l| l.strip_prefix("model name"));
    let model = models.next().unwrap_or(": an unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} × {model}, Linux {}", cores.count, kernel.trim_end())
}

/// Returns the load average of the last minute.
pub(super) fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194304 100 0 0 0 150 50 1 1 20 0 1 0 5 1 1";
        let stat = Stat::parse(text).expect("it is one");
        assert_eq!(stat.parent, 3);
        assert_eq!((stat.cpu_seconds, stat.ended_seconds), (2.0, 0.02));
        assert_eq!(Stat::parse("7 (a) S"), None);
    }

    #[test]
    fn the_machines_usage_is_read() {
        let text = "cpu  100 50 250 9 9 9 9 200 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let usage = Usage {
            used: 4.0,
            stolen: 2.0,
        };
        assert_eq!(Usage::parse(text), Some(usage));
        assert_eq!(Usage::parse("intr 5"), None);
    }

    #[test]
    fn noise_is_what_nobody_measured_used() {
        let usage = |used, stolen| Usage { used, stolen };
        let quiet = Noise::between(usage(1.0, 0.0), usage(5.0, 0.0), 3.95, 2.0);
        assert!(!quiet.is_loud(), "{quiet:?}");
        let others = Noise::between(usage(1.0, 0.0), usage(5.0, 0.0), 2.0, 2.0);
        assert!((others.others - 1.0).abs() < 1e-9 && others.is_loud());
        assert!(Noise::between(usage(0.0, 0.0), usage(0.0, 1.0), 0.0, 2.0).is_loud());
        assert_eq!(
            Noise::between(usage(0.0, 0.0), usage(1.0, 0.0), 2.0, 1.0).others,
            0.0
        );
    }

    #[test]
    fn this_process_is_in_its_own_tree() {
        let tree = Tree::of(std::process::id());
        assert_eq!(tree.ids().first(), Some(&std::process::id()));
        assert!(tree.resident_kib() > 0.0);
    }

    #[test]
    fn memory_is_read() {
        assert_eq!(resident_kib("VmHWM: 9 kB\nVmRSS:\t  120 kB\n"), Some(120.0));
    }
}
