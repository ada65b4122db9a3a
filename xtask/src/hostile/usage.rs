//! The CPU time of a server, by thread.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::Duration;

/// The unit of CPU times in `/proc/PID/stat`, in seconds: `USER_HZ` is 100 on Linux.
const TICK_SECONDS: f64 = 0.01;

/// The minimum share of a core at which a thread is printed.
const MIN_CORES: f64 = 0.005;

/// CPU times in seconds: of the threads by name, of the children, and of the whole process.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage(BTreeMap<String, f64>);

/// Shares of a core, to be printed.
#[derive(Debug)]
pub(super) struct Cores<'u>(&'u Usage, Duration);

impl Usage {
    /// Reads the CPU times of a process until now; 0 for what can't be read.
    pub(super) fn of(process: u32) -> Self {
        let mut usage = Self::default();
        let mut children = 0.0;
        if let Some([own, ended]) = seconds(&format!("/proc/{process}")) {
            usage.0.insert("all threads".to_owned(), own);
            children += ended;
        }
        let tasks = fs::read_dir(format!("/proc/{process}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let folder = task.path().display().to_string();
            let name = fs::read_to_string(format!("{folder}/comm")).unwrap_or_default();
            if let Some([own, _]) = seconds(&folder) {
                *usage.0.entry(name.trim_end().to_owned()).or_default() += own;
            }
            let ids = fs::read_to_string(format!("{folder}/children")).unwrap_or_default();
            for id in ids.split_whitespace() {
                children += seconds(&format!("/proc/{id}")).map_or(0.0, |[own, _]| own);
            }
        }
        usage.0.insert("children".to_owned(), children);
        usage
    }

    /// Returns what was used since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let used = |(name, &seconds): (&String, &f64)| {
            let before = before.0.get(name).copied().unwrap_or_default();
            (name.clone(), (seconds - before).max(0.0))
        };
        Self(self.0.iter().map(used).collect())
    }

    /// Adds another measurement.
    pub(super) fn add(&mut self, more: &Self) {
        for (name, seconds) in &more.0 {
            *self.0.entry(name.clone()).or_default() += seconds;
        }
    }

    /// Returns the shares of a core during `time`.
    pub(super) fn per(&self, time: Duration) -> Cores<'_> {
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

/// Returns the CPU time of a process or thread, and that of its ended children.
fn seconds(folder: &str) -> Option<[f64; 2]> {
    parse(&fs::read_to_string(format!("{folder}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<[f64; 2]> {
    // The name is in parentheses, and may contain spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<f64> = fields
        .split_whitespace()
        .skip(11)
        .take(4)
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    let [user, system, ended_user, ended_system] = fields.try_into().ok()?;
    Some([
        (user + system) * TICK_SECONDS,
        (ended_user + ended_system) * TICK_SECONDS,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_whatever_the_name_is() {
        let text = "7 (a) b (c) S 3 7 7 0 -1 4194304 100 0 0 0 150 50 1 1 20 0 1 0 5 1 1";
        assert_eq!(parse(text), Some([2.0, 0.02]));
        assert_eq!(parse("7 (a) S"), None);
    }

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
