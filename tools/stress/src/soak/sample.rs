//! Samples of the server's memory, descriptors, threads and processor time, from `/proc`.

use std::fs;
use std::time::{Duration, Instant};

use processes::{Stat, Tree};

/// The state of the server and of its children at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// The time since the begin of the loads.
    pub(super) at: Duration,
    /// The resident memory of the server's process, in bytes.
    pub(super) resident: u64,
    /// The resident memory of its children, in bytes: above all, of processes that compile.
    pub(super) children_resident: u64,
    /// The proportional memory of the server and its children, in bytes: a page that several
    /// processes share is counted once.
    pub(super) proportional: u64,
    pub(super) children: usize,
    /// The open descriptors of the server's process.
    pub(super) descriptors: usize,
    /// The threads of the server's process.
    pub(super) threads: usize,
    /// The processor time that the server's process has used, in seconds.
    pub(super) cpu_seconds: f64,
    /// The processor time that its children have used which have ended, in seconds.
    pub(super) children_cpu_seconds: f64,
}

impl Sample {
    /// The header of [`Sample::csv`].
    pub(super) const CSV_HEADER: &str = "seconds,resident_bytes,children_resident_bytes,\
        proportional_bytes,children,descriptors,threads,cpu_seconds,children_cpu_seconds\n";

    /// Reads the state of a server.
    pub(super) fn read(server: u32, begin: Instant) -> Self {
        let tree = Tree::from_root(server);
        let own = bytes(Tree::only(server).resident_kib());
        let stat = Stat::from_process(server);
        Self {
            at: begin.elapsed(),
            resident: own,
            children_resident: bytes(tree.resident_kib()).saturating_sub(own),
            proportional: tree.ids().iter().map(|&id| proportional(id)).sum(),
            children: tree.ids().len().saturating_sub(1),
            descriptors: entries(server, "fd"),
            threads: entries(server, "task"),
            cpu_seconds: stat.as_ref().map_or(0.0, |stat| stat.cpu_seconds),
            children_cpu_seconds: stat.map_or(0.0, |stat| stat.ended_seconds),
        }
    }

    /// Returns the sample as a line of CSV.
    pub(super) fn csv(&self) -> String {
        format!(
            "{:.1},{},{},{},{},{},{},{:.2},{:.2}\n",
            self.at.as_secs_f64(),
            self.resident,
            self.children_resident,
            self.proportional,
            self.children,
            self.descriptors,
            self.threads,
            self.cpu_seconds,
            self.children_cpu_seconds
        )
    }
}

fn bytes(kib: f64) -> u64 {
    (kib * 1024.0) as u64
}

fn entries(process: u32, folder: &str) -> usize {
    fs::read_dir(format!("/proc/{process}/{folder}")).map_or(0, Iterator::count)
}

/// Returns the proportional memory of a process, or 0 if it has ended.
fn proportional(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"));
    let kib = text.ok().and_then(|text| proportional_kib(&text));
    kib.unwrap_or_default() * 1024
}

fn proportional_kib(smaps: &str) -> Option<u64> {
    let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_descriptors_and_threads() {
        let sample = Sample::read(std::process::id(), Instant::now());
        assert!(sample.resident > 0 && sample.proportional > 0, "{sample:?}");
        assert!(sample.descriptors > 0 && sample.threads > 0, "{sample:?}");
    }

    #[test]
    fn a_line_has_as_many_columns_as_the_header() {
        let columns = |line: &str| line.split(',').count();
        let line = Sample::default().csv();
        assert_eq!(columns(&line), columns(Sample::CSV_HEADER), "{line}");
    }

    #[test]
    fn the_proportional_memory_is_read() {
        let text = "Rss:  9 kB\nPss_Dirty: 8 kB\nPss:\t  7 kB\nPss_Anon: 6 kB\n";
        assert_eq!(proportional_kib(text), Some(7));
        assert_eq!(proportional_kib("Rss: 9 kB\n"), None);
    }
}
