//! A process with its descendants: their processor time and memory, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The ticks per second in which `/proc` counts CPU time: constant for programs on Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the CPU time of this program and of its children that have ended, in seconds.
pub fn own_seconds() -> f64 {
    Stat::from_process(std::process::id()).map_or(0.0, |stat| stat.cpu_seconds + stat.ended_seconds)
}

/// A process and its descendants.
#[derive(Clone, Debug)]
pub struct Tree(Vec<u32>);

impl Tree {
    /// Contains only one process.
    pub fn only(process: u32) -> Self {
        Self(vec![process])
    }

    /// Finds the current descendants of a process.
    pub fn from_root(root: u32) -> Self {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Ok(id) = entry.file_name().to_string_lossy().parse()
                && let Some(stat) = Stat::from_process(id)
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

    /// Returns the process IDs, that of the root first.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }

    /// Returns the CPU time that they have used, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let stats = self.0.iter().filter_map(|&id| Stat::from_process(id));
        stats.map(|stat| stat.cpu_seconds).sum()
    }

    /// Returns their resident memory, in KiB. Shared memory is counted for each.
    pub fn resident_kib(&self) -> f64 {
        let texts = self.0.iter();
        let texts = texts.filter_map(|id| fs::read_to_string(format!("/proc/{id}/status")).ok());
        texts.filter_map(|text| resident_kib(&text)).sum()
    }
}

fn resident_kib(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The state of a process or thread, from its file `stat` in `/proc`.
#[derive(Debug, PartialEq)]
pub struct Stat {
    parent: u32,
    /// The CPU time of the process or thread, in seconds.
    pub cpu_seconds: f64,
    /// The CPU time of the children that have ended, in seconds.
    pub ended_seconds: f64,
}

impl Stat {
    /// Reads the state of a process. Returns none if there is no such process.
    pub fn from_process(process: u32) -> Option<Self> {
        Self::read(Path::new(&format!("/proc/{process}")))
    }

    /// Reads the state of the process or thread with this folder in `/proc`. Returns none if it
    /// can't be read.
    pub fn read(folder: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(folder.join("stat")).ok()?)
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
    fn this_process_is_in_its_own_tree() {
        let tree = Tree::from_root(std::process::id());
        assert_eq!(tree.ids().first(), Some(&std::process::id()));
        assert!(tree.resident_kib() > 0.0);
    }

    #[test]
    fn memory_is_read() {
        assert_eq!(resident_kib("VmHWM: 9 kB\nVmRSS:\t  120 kB\n"), Some(120.0));
    }
}
