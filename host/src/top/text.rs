//! A report as plain text.

use std::fmt::Write;

use super::columns::{Column, GAP, bytes, fitting, short};
use super::report::{LastError, Report, Row};
use crate::printable;

/// The width of the table, in characters: all columns, and a route of common length.
const WIDTH: usize = 120;

/// Returns a report as lines of text.
pub(crate) fn text(report: &Report) -> String {
    let mut out = String::new();
    for line in summary(report) {
        push(&mut out, &line);
    }
    out.push('\n');
    let columns = fitting(WIDTH);
    let titles = columns.iter().map(|(column, _)| column.title.to_owned());
    push(&mut out, &cells(&columns, titles));
    for row in &report.routes {
        push(&mut out, &line(&columns, row));
    }
    if !report.errors.is_empty() {
        out.push_str("\nLast errors:\n");
    }
    for error in &report.errors {
        push(&mut out, &error_line(error));
    }
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Returns the lines above the table.
pub(super) fn summary(report: &Report) -> [String; 2] {
    let processes = match report.processes {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    };
    let connections = match report.connections {
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    };
    let first = format!(
        "wasgi {}: {}, up {}, {processes}, {connections}",
        printable::one_line(&report.version),
        printable::one_line(&report.state),
        uptime(report.uptime_seconds)
    );
    let second = format!(
        "{} requests/s, {} 5xx/s, in {}/s, out {}/s, CPU {} %, resident {}, instances {}",
        short(report.requests_per_second),
        short(report.errors_per_second),
        bytes(report.received_bytes_per_second),
        bytes(report.sent_bytes_per_second),
        short(report.cpu_percent),
        bytes(report.resident_bytes),
        bytes(report.instance_memory_bytes)
    );
    [first, second]
}

/// Returns a line of the table.
fn line(columns: &[(&Column, usize)], row: &Row) -> String {
    cells(
        columns,
        columns.iter().map(|(column, _)| (column.cell)(row)),
    )
}

fn cells(columns: &[(&Column, usize)], cells: impl Iterator<Item = String>) -> String {
    let mut line = String::new();
    for ((column, width), cell) in columns.iter().zip(cells) {
        let width = *width;
        // A string takes all that is written. A long route is not cut: the text is not a screen.
        let _ = match column.is_right {
            true => write!(line, "{cell:>width$}"),
            false => write!(line, "{cell:<width$}"),
        };
        line.push_str(&" ".repeat(GAP));
    }
    line
}

/// Returns an error as one line.
pub(super) fn error_line(error: &LastError) -> String {
    let subject = printable::one_line(&error.subject);
    let text = printable::one_line(&error.text);
    match error.age_seconds {
        Some(age) => format!("{subject}, {} ago: {text}", uptime(age)),
        None => format!("{subject}: {text}"),
    }
}

/// Formats a time with its two largest units.
fn uptime(seconds: f64) -> String {
    // Saturates.
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min {} s", seconds % 60),
        () if days == 0 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report;
    use super::*;

    #[test]
    fn a_report_is_a_table_with_a_row_per_route_and_harmless_text() {
        let text = text(&report());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "wasgi 0.1.0: ready, up 1 h 2 min, 2 processes, 3 connections"
        );
        assert!(
            lines[1].starts_with("12.0 requests/s, 2.00 5xx/s, in 0B/s"),
            "{text}"
        );
        assert!(lines[3].starts_with("ROUTE "), "{text}");
        let hello: Vec<&str> = lines[4].split_whitespace().collect();
        let expected = [
            "/hello",
            "12.0",
            "2.00",
            "5.50",
            "9.91",
            "0",
            "0",
            "1.20",
            "64KiB",
            "wasgi",
            "0123456789ab",
        ];
        assert_eq!(hello, expected);
        assert!(lines[6].starts_with("(pages) "), "{text}");
        assert!(text.contains("Last errors:\nhello, "), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn times_have_two_units() {
        for (seconds, shown) in [
            (0.9, "0 s"),
            (59.0, "59 s"),
            (61.0, "1 min 1 s"),
            (3661.0, "1 h 1 min"),
            (90_061.0, "1 d 1 h"),
        ] {
            assert_eq!(uptime(seconds), shown);
        }
    }
}
