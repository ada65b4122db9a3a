//! Converts measurements to rows of the report: medians, and ratios within a round.

use super::contest::{Contest, Series};
use super::machine::Noise;
use super::peer::Peer;

/// The ratio between the highest and the lowest round above which a result is unreliable.
const SPREAD_LIMIT: f64 = 1.25;

/// The length, in bytes, above which the table also shows the cost of each KiB.
const SIZED_BYTES: usize = 64 << 10;

/// A table of the report.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// The bars for the plot.
    pub(super) bars: Vec<Bar>,
    /// Failures, and doubts about the results.
    pub(super) notes: Vec<String>,
}

/// A ratio for the plot.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// The lowest and the highest round.
    pub(super) range: (f64, f64),
}

impl Table {
    /// Creates a table of results without rounds.
    pub(super) fn of_rows(columns: &[&str], rows: Vec<Vec<String>>) -> Self {
        Self {
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows,
            ..Self::default()
        }
    }

    /// Creates a contest's table. Ratios are relative to the first series.
    pub(super) fn of_contest(contest: Contest, body_bytes: usize) -> Self {
        let Contest { series, notes } = contest;
        let mut table = Self {
            notes,
            ..Self::default()
        };
        let Some(base) = series.first() else {
            return table;
        };
        let sized = body_bytes > SIZED_BYTES;
        // If there are several of ours, the one with the most threads is last.
        let mut last_first = series.iter().rev();
        let ours = last_first.find(|one| matches!(one.peer, Peer::Wasgi { .. }));
        let ratio = format!("relative to {}", base.peer.title());
        table.columns = [
            "server",
            &ratio,
            "lowest to highest",
            "wasgi relative to it",
            "requests/s",
            "CPU µs/request",
            "p50 µs",
            "p99 µs",
            "RSS MiB",
        ]
        .map(str::to_owned)
        .to_vec();
        if sized {
            table.columns.push("CPU ns/KiB".to_owned());
        }
        for one in &series {
            let Some(ratio) = Ratio::new(&one.rates(), &base.rates()) else {
                continue;
            };
            let ours = ours.and_then(|ours| Ratio::new(&ours.rates(), &one.rates()));
            let title = one.peer.title();
            let of = |value: fn(&super::contest::Sample) -> f64| {
                median(&one.samples.iter().map(value).collect::<Vec<_>>()).unwrap_or_default()
            };
            let cpu_us = of(|sample| sample.cpu_us);
            let mut row = vec![
                title.clone(),
                format!("{:.2}", ratio.median),
                format!("{:.2} to {:.2}", ratio.lowest, ratio.highest),
                ours.map_or_else(String::new, |ours| format!("{:.2}", ours.median)),
                format!("{:.0}", of(|sample| sample.rate)),
                format!("{cpu_us:.1}"),
                format!("{:.0}", of(|sample| sample.p50_us)),
                format!("{:.0}", of(|sample| sample.p99_us)),
                format!("{:.1}", of(|sample| sample.resident_kib) / 1024.0),
            ];
            if sized {
                row.push(format!(
                    "{:.1}",
                    cpu_us * 1e3 / (body_bytes as f64 / 1024.0)
                ));
            }
            table.rows.push(row);
            if ratio.highest > ratio.lowest * SPREAD_LIMIT {
                table
                    .notes
                    .push(format!("{title}: rounds vary by more than 25 %"));
            }
            table.bars.push(Bar {
                label: title,
                value: ratio.median,
                range: (ratio.lowest, ratio.highest),
            });
        }
        table.notes.extend(noise_note(&series));
        table
    }

    /// Creates the table of latencies at a fraction of the maximum rate.
    pub(super) fn of_latency(contest: Contest) -> Self {
        let Contest { series, notes } = contest;
        let mut rows = Vec::new();
        for one in &series {
            let of = |value: fn(&super::contest::Sample) -> f64| {
                median(&one.samples.iter().map(value).collect::<Vec<_>>()).unwrap_or_default()
            };
            rows.push(vec![
                one.peer.title(),
                format!("{:.0}", of(|sample| sample.rate)),
                format!("{:.0}", of(|sample| sample.p50_us)),
                format!("{:.0}", of(|sample| sample.p99_us)),
                format!("{:.1}", of(|sample| sample.p99_us / sample.p50_us)),
                format!("{:.0}", of(|sample| sample.late_p99_us)),
            ]);
        }
        let columns = [
            "server",
            "requests/s",
            "p50 µs",
            "p99 µs",
            "p99 to p50",
            "load generator delay, p99 µs",
        ];
        let mut table = Self::of_rows(&columns, rows);
        table.notes = notes;
        table.notes.extend(noise_note(&series));
        table
    }
}

impl Series {
    fn rates(&self) -> Vec<f64> {
        self.samples.iter().map(|sample| sample.rate).collect()
    }
}

fn noise_note(series: &[Series]) -> Option<String> {
    let samples = series.iter().flat_map(|one| &one.samples);
    let noise = samples.fold(Noise::default(), |worst, sample| worst.louder(sample.noise));
    let note = noise.note()?;
    Some(format!("{note}, in the worst round"))
}

/// One server's rates relative to another's, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ratio {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Ratio {
    /// Returns none if no round includes both.
    fn new(rates: &[f64], base: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = rates
            .iter()
            .zip(base)
            .map(|(one, base)| one / base)
            .collect();
        Some(Self {
            median: median(&ratios)?,
            lowest: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            highest: ratios.iter().copied().fold(0.0, f64::max),
        })
    }
}

/// Returns the median; for an even number of values, the mean of the middle two.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper))
}

#[cfg(test)]
mod tests {
    use super::super::case::WASGI;
    use super::super::contest::Sample;
    use super::*;

    fn series(peer: Peer, rates: &[f64], others: f64) -> Series {
        let noise = Noise {
            others,
            stolen: 0.0,
        };
        let sample = |&rate| Sample {
            rate,
            cpu_us: 4.0,
            noise,
            ..Sample::default()
        };
        Series {
            peer,
            samples: rates.iter().map(sample).collect(),
        }
    }

    #[test]
    fn the_middle_is_found() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was twice as fast in the second round; the ratio is the same.
        let base = series(Peer::Bare, &[100.0, 200.0, 100.0], 0.0);
        let ours = series(WASGI, &[50.0, 100.0, 40.0], 0.0);
        let contest = Contest {
            series: vec![base, ours],
            notes: vec!["nginx: not installed".to_owned()],
        };
        let table = Table::of_contest(contest, 100);
        assert_eq!(table.columns[1], "relative to bare epoll loop");
        assert_eq!(
            table.rows[0][..3],
            ["bare epoll loop", "1.00", "1.00 to 1.00"]
        );
        assert_eq!(
            table.rows[1][..4],
            ["wasgi", "0.50", "0.40 to 0.50", "1.00"]
        );
        assert_eq!(table.rows[0][3..5], ["0.50", "100"]);
        assert_eq!(table.bars[1].value, 0.5);
        assert_eq!(table.notes, ["nginx: not installed"]);
    }

    #[test]
    fn rounds_that_differ_and_a_busy_machine_are_told() {
        let base = series(Peer::Bare, &[100.0, 100.0], 0.5);
        let ours = series(Peer::Nginx, &[50.0, 70.0], 0.0);
        let contest = Contest {
            series: vec![base, ours],
            notes: Vec::new(),
        };
        let notes = Table::of_contest(contest, 100).notes;
        assert_eq!(notes[0], "nginx: rounds vary by more than 25 %");
        assert!(notes[1].contains("other processes used 50 %"), "{notes:?}");
    }

    #[test]
    fn large_files_have_a_cost_by_size() {
        let contest = Contest {
            series: vec![series(Peer::Bare, &[1.0], 0.0)],
            notes: Vec::new(),
        };
        let table = Table::of_contest(contest, 100 << 10);
        assert_eq!(table.rows[0].last().map(String::as_str), Some("40.0"));
        assert_eq!(table.columns.len(), table.rows[0].len());
    }

    #[test]
    fn a_contest_that_nobody_came_to_is_an_empty_table() {
        assert_eq!(Table::of_contest(Contest::default(), 1), Table::default());
    }
}
