//! The CPU time of a server, by thread.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

use processes::Stat;

/// The minimum share of a core at which a thread is printed.
const MIN_CORES: f64 = 0.005;

/// CPU times in seconds: of the threads by name, of the children, and of the whole process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage(BTreeMap<String, f64>);

/// Shares of a core, to be printed.
#[derive(Debug)]
pub(crate) struct Cores<'u>(&'u Usage, Duration);

impl Usage {
    /// Reads the CPU times of a process until now; 0 for what can't be read.
    pub(crate) fn from_process(process: u32) -> Self {
        let mut usage = Self::default();
        let mut children = 0.0;
        if let Some(stat) = Stat::from_process(process) {
            usage.0.insert("all threads".to_owned(), stat.cpu_seconds);
            children += stat.ended_seconds;
        }
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let folder = task.path();
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            if let Some(stat) = Stat::read(&folder) {
                *usage.0.entry(name.trim_end().to_owned()).or_default() += stat.cpu_seconds;
            }
            let ids = fs::read_to_string(folder.join("children")).unwrap_or_default();
            let ids = ids.split_whitespace().filter_map(|id| id.parse().ok());
            children += ids
                .filter_map(Stat::from_process)
                .map(|stat| stat.cpu_seconds)
                .sum::<f64>();
        }
        usage.0.insert("children".to_owned(), children);
        usage
    }

    /// Returns what was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let used = |(name, &seconds): (&String, &f64)| {
            let before = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), (seconds - before).max(0.0))
        };
        Self(self.0.iter().map(used).collect())
    }

    /// Adds another measurement.
    pub(crate) fn add(&mut self, more: &Self) {
        for (name, seconds) in &more.0 {
            *self.0.entry(name.clone()).or_default() += seconds;
        }
    }

    /// Returns the shares of a core during `time`.
    pub(crate) fn per(&self, time: Duration) -> Cores<'_> {
        Cores(self, time)
    }
}

impl fmt::Display for Cores<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = self.0.0.iter().map(|(name, seconds)| {
            let cores = seconds / self.1.as_secs_f64();
            (name, cores)
        });
        let shown: Vec<String> = cores
            .filter(|(_, cores)| *cores >= MIN_CORES)
            .map(|(name, cores)| format!("{name} {cores:.2}"))
            .collect();
        write!(f, "{}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_in_between_is_a_share_of_the_time() {
        let usage = |own: f64, children: f64| {
            Usage(
                [("a".into(), own), ("b".into(), children)]
                    .into_iter()
                    .collect(),
            )
        };
        let used = usage(3.0, 1.0).since(&usage(1.0, 1.0));
        assert_eq!(used.per(Duration::from_secs(4)).to_string(), "a 0.50");
    }
}
