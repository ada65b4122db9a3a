//! The machine that the benchmark runs on: its processors, and other users of them.
//!
//! Reads `/proc`; measures nothing itself.

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
        let all = sched_getaffinity(None).context("can't read the list of processors")?;
        let mut ids = (0..CpuSet::MAX_CPU).filter(|&id| all.is_set(id));
        let first = ids.next().context("no processor is available")?;
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
        Self::parse(&text).context("/proc/stat: unexpected format")
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
}
