//! The figures of a soak: for each window of time, and the last window compared with the first.

use std::fmt::Write;
use std::ops::Range;
use std::time::Duration;

use super::loads::Timed;
use super::sample::Sample;
use crate::load::percentile;

/// The maximum growth of a figure from the first window to the last one, as a share.
const MAX_GROWTH: f64 = 0.10;

const MIB: f64 = 1024.0 * 1024.0;

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) samples: Vec<Sample>,
    pub(super) loads: Vec<Requests>,
}

/// The latencies of one load.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) name: &'static str,
    pub(super) times: Vec<Timed>,
    /// Whether it measures the machine rather than the server.
    pub(super) is_reference: bool,
}

/// The figures of a window of time.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// Medians of the samples, in bytes.
    pub(super) resident: f64,
    pub(super) proportional: f64,
    /// Medians of the samples.
    pub(super) descriptors: f64,
    pub(super) threads: f64,
    /// The share of one processor that the server's process has used.
    pub(super) cpu: f64,
    pub(super) latencies: Vec<Latency>,
}

/// The latencies of one load in a window of time.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) name: &'static str,
    is_reference: bool,
    pub(super) count: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    longest: Duration,
}

/// A figure of the first and of the last window.
#[derive(Debug)]
struct Compared {
    name: String,
    first: f64,
    last: f64,
    unit: &'static str,
    /// Whether it must not grow.
    is_judged: bool,
}

impl Record {
    /// Returns the figures of a window.
    pub(super) fn figures(&self, window: &Range<Duration>) -> Figures {
        let samples = self.samples.iter();
        let samples: Vec<&Sample> = samples.filter(|one| window.contains(&one.at)).collect();
        let median = |value: fn(&Sample) -> f64| median(samples.iter().map(|one| value(one)));
        let cpu = match (samples.first(), samples.last()) {
            (Some(first), Some(last)) if last.at > first.at => {
                (last.cpu_seconds - first.cpu_seconds) / (last.at - first.at).as_secs_f64()
            }
            _ => 0.0,
        };
        Figures {
            resident: median(|one| one.resident as f64),
            proportional: median(|one| one.proportional as f64),
            descriptors: median(|one| one.descriptors as f64),
            threads: median(|one| one.threads as f64),
            cpu,
            latencies: self.loads.iter().map(|load| load.latency(window)).collect(),
        }
    }
}

impl Requests {
    fn latency(&self, window: &Range<Duration>) -> Latency {
        let times = self.times.iter();
        let times = times.filter(|timed| window.contains(&timed.at));
        let times: Vec<Duration> = times.map(|timed| timed.took).collect();
        Latency {
            name: self.name,
            is_reference: self.is_reference,
            count: times.len(),
            p50: percentile(&times, 50),
            p99: percentile(&times, 99),
            longest: times.iter().max().copied().unwrap_or_default(),
        }
    }
}

impl Figures {
    /// The header of [`Figures::csv`].
    pub(super) const CSV_HEADER: &str = "minutes_from,minutes_to,resident_mib,proportional_mib,\
        descriptors,threads,cpu,load,requests,p50_ms,p99_ms,longest_ms\n";

    /// Returns the figures of a window as lines of CSV, one for each load.
    pub(super) fn csv(&self, window: &Range<Duration>) -> String {
        let mut lines = String::new();
        for load in &self.latencies {
            // Writing to a string can't fail.
            let _ = writeln!(
                lines,
                "{:.2},{:.2},{:.2},{:.2},{},{},{:.3},\"{}\",{},{:.3},{:.3},{:.3}",
                window.start.as_secs_f64() / 60.0,
                window.end.as_secs_f64() / 60.0,
                self.resident / MIB,
                self.proportional / MIB,
                self.descriptors,
                self.threads,
                self.cpu,
                load.name,
                load.count,
                ms(load.p50),
                ms(load.p99),
                ms(load.longest)
            );
        }
        lines
    }

    /// Returns a line about the window.
    pub(super) fn line(&self) -> String {
        let mut line = format!(
            "resident {:.1} MiB, proportional with children {:.1} MiB, {} descriptors, {} threads, \
             {:.0} % of a processor; p50/p99 in ms:",
            self.resident / MIB,
            self.proportional / MIB,
            self.descriptors,
            self.threads,
            self.cpu * 100.0
        );
        for load in &self.latencies {
            let _ = write!(
                line,
                " {} {:.2}/{:.2};",
                load.name,
                ms(load.p50),
                ms(load.p99)
            );
        }
        line
    }

    fn compared_with(&self, first: &Self) -> Vec<Compared> {
        let compared = |name: &str, first, last, unit, is_judged| Compared {
            name: name.to_owned(),
            first,
            last,
            unit,
            is_judged,
        };
        let mut all = vec![
            compared(
                "resident memory of the server",
                first.resident / MIB,
                self.resident / MIB,
                " MiB",
                true,
            ),
            compared(
                "proportional memory with the compiling processes",
                first.proportional / MIB,
                self.proportional / MIB,
                " MiB",
                true,
            ),
            compared("descriptors", first.descriptors, self.descriptors, "", true),
            compared("threads", first.threads, self.threads, "", true),
        ];
        for (first, last) in first.latencies.iter().zip(&self.latencies) {
            let judged = !last.is_reference;
            let name = |what| format!("{what}, {}", last.name);
            all.push(Compared {
                name: name("p50"),
                ..compared("", ms(first.p50), ms(last.p50), " ms", false)
            });
            all.push(Compared {
                name: name("p99"),
                ..compared("", ms(first.p99), ms(last.p99), " ms", judged)
            });
        }
        all
    }
}

impl Compared {
    fn growth(&self) -> f64 {
        if self.first > 0.0 {
            self.last / self.first - 1.0
        } else {
            0.0
        }
    }

    fn exceeds(&self) -> bool {
        self.is_judged && self.growth() > MAX_GROWTH
    }
}

/// Compares the last window with the first one. Returns a table in Markdown, and a line for each
/// figure that has grown by more than a tenth.
pub(super) fn compare(first: &Figures, last: &Figures) -> (String, Vec<String>) {
    let mut table = String::from("| figure | first window | last window | change |\n");
    table += "|---|---|---|---|\n";
    let mut grown = Vec::new();
    for one in last.compared_with(first) {
        let shown = |value: f64| match one.unit {
            "" => format!("{value}"),
            " ms" => format!("{value:.2} ms"),
            unit => format!("{value:.1}{unit}"),
        };
        let (name, percent) = (&one.name, one.growth() * 100.0);
        let (from, to) = (shown(one.first), shown(one.last));
        let _ = writeln!(table, "| {name} | {from} | {to} | {percent:+.1} % |");
        if one.exceeds() {
            grown.push(format!(
                "{name}: from {from} to {to}, {percent:+.1} %, more than {:.0} %",
                MAX_GROWTH * 100.0
            ));
        }
    }
    (table, grown)
}

/// Splits a time into windows of the same length; a shorter rest belongs to none.
pub(super) fn windows(time: &Range<Duration>, length: Duration) -> Vec<Range<Duration>> {
    let mut windows = Vec::new();
    let mut start = time.start;
    while start + length <= time.end {
        windows.push(start..start + length);
        start += length;
    }
    windows
}

pub(super) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn record() -> Record {
        let sample = |at: u64| Sample {
            at: S(at),
            resident: 100 + at,
            cpu_seconds: at as f64 / 4.0,
            ..Sample::default()
        };
        let timed = |at: u64| Timed {
            at: S(at),
            took: Duration::from_millis(at),
        };
        Record {
            samples: (0..100).map(sample).collect(),
            loads: vec![Requests {
                name: "a load",
                times: (0..100).map(timed).collect(),
                is_reference: false,
            }],
        }
    }

    #[test]
    fn a_window_has_the_figures_of_its_time_only() {
        let figures = record().figures(&(S(10)..S(20)));
        assert_eq!((figures.resident, figures.cpu), (115.0, 0.25));
        let load = &figures.latencies[0];
        assert_eq!(load.count, 10);
        assert_eq!(load.longest, Duration::from_millis(19));
    }

    #[test]
    fn growth_is_found_and_the_reference_is_not_judged() {
        let mut record = record();
        let windows = (S(0)..S(10), S(90)..S(100));
        let (first, last) = (record.figures(&windows.0), record.figures(&windows.1));
        let (table, grown) = compare(&first, &last);
        assert!(
            table.contains("| p99, a load | 8.00 ms | 98.00 ms |"),
            "{table}"
        );
        assert!(grown.iter().any(|line| line.starts_with("p99, a load")));
        assert!(compare(&first, &first).1.is_empty());
        record.loads[0].is_reference = true;
        let (first, last) = (record.figures(&windows.0), record.figures(&windows.1));
        let (_, grown) = compare(&first, &last);
        assert!(
            !grown.iter().any(|line| line.starts_with("p99")),
            "{grown:?}"
        );
    }

    #[test]
    fn a_rest_is_no_window() {
        assert_eq!(windows(&(S(1)..S(8)), S(3)), [S(1)..S(4), S(4)..S(7)]);
        assert!(windows(&(S(1)..S(3)), S(3)).is_empty());
    }
}
