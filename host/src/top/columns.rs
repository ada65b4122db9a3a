//! The columns of the table, and those that fit.

use super::report::Row;
use crate::printable;

/// The minimum width of the route, in columns of the terminal.
const MIN_ROUTE_WIDTH: usize = 14;

/// The space between two columns.
pub(super) const GAP: usize = 1;

/// A column of the table.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// The maximum width; that of the route is what the others leave.
    pub(super) width: usize,
    pub(super) is_right: bool,
    /// Columns with a larger number are left out first.
    importance: u8,
    pub(super) cell: fn(&Row) -> String,
}

const fn number(
    title: &'static str,
    width: usize,
    importance: u8,
    cell: fn(&Row) -> String,
) -> Column {
    Column {
        title,
        width,
        is_right: true,
        importance,
        cell,
    }
}

const fn word(
    title: &'static str,
    width: usize,
    importance: u8,
    cell: fn(&Row) -> String,
) -> Column {
    Column {
        is_right: false,
        ..number(title, width, importance, cell)
    }
}

const COLUMNS: [Column; 11] = [
    word("ROUTE", MIN_ROUTE_WIDTH, 0, |row| {
        printable::one_line(&row.route).to_string()
    }),
    number("REQ/S", 7, 1, |row| short(row.requests_per_second)),
    number("5XX/S", 6, 3, |row| short(row.errors_per_second)),
    number("P50 MS", 7, 4, |row| millis(row.p50_seconds)),
    number("P99 MS", 7, 2, |row| millis(row.p99_seconds)),
    number("ACTIVE", 6, 7, |row| short(row.in_flight)),
    number("QUEUED", 6, 8, |row| short(row.queued)),
    number("CPU %", 6, 5, |row| match row.handler.is_empty() {
        true => "–".into(),
        false => short(row.cpu_percent),
    }),
    number("MEMORY", 7, 6, |row| match row.handler.is_empty() {
        true => "–".into(),
        false => bytes(row.memory_bytes),
    }),
    word("KIND", 10, 10, |row| row.kind.clone()),
    word("VERSION", 12, 9, |row| row.version.clone()),
];

/// Returns the columns that fit into a width, each with its own. The route is always there.
pub(super) fn fitting(width: usize) -> Vec<(&'static Column, usize)> {
    let mut most = COLUMNS.iter().map(|one| one.importance).max();
    while let Some(importance) = most {
        let chosen = || COLUMNS.iter().filter(|one| one.importance <= importance);
        let used: usize = chosen().map(|one| one.width + GAP).sum::<usize>() - GAP;
        if used <= width || importance == 0 {
            let rest = width.saturating_sub(used);
            let own = |column: &'static Column| match column.importance {
                0 => (column, (column.width + rest).min(width)),
                _ => (column, column.width),
            };
            return chosen().map(own).collect();
        }
        most = importance.checked_sub(1);
    }
    Vec::new()
}

/// Formats a number with at most four digits and three significant ones.
pub(super) fn short(number: f64) -> String {
    match number {
        _ if number < 0.005 => "0".into(),
        _ if number < 9.995 => format!("{number:.2}"),
        _ if number < 99.95 => format!("{number:.1}"),
        _ if number < 99_999.5 => format!("{number:.0}"),
        _ if number < 9_999_500.0 => format!("{:.0}k", number / 1e3),
        _ => format!("{:.0}M", number / 1e6),
    }
}

/// Formats a size.
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while size >= 999.5
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = next;
    }
    match unit {
        "B" => format!("{size:.0}{unit}"),
        _ if size < 9.95 => format!("{size:.1}{unit}"),
        _ => format!("{size:.0}{unit}"),
    }
}

fn millis(seconds: Option<f64>) -> String {
    seconds.map_or("–".into(), |seconds| short(seconds * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_fill_the_width_and_the_important_ones_stay() {
        for width in 1..300 {
            let columns = fitting(width);
            let used: usize = columns.iter().map(|(_, own)| own + GAP).sum::<usize>() - GAP;
            assert_eq!(used, width);
            assert_eq!(columns[0].0.title, "ROUTE");
        }
        let titles = |width| -> Vec<&str> {
            let columns = fitting(width).into_iter();
            columns.map(|(column, _)| column.title).collect()
        };
        assert_eq!(titles(20), ["ROUTE"]);
        assert_eq!(titles(40), ["ROUTE", "REQ/S", "5XX/S", "P99 MS"]);
        assert_eq!(titles(200).len(), COLUMNS.len());
    }

    #[test]
    fn numbers_and_sizes_are_short() {
        for (number, shown) in [
            (0.0, "0"),
            (0.004, "0"),
            (1.0, "1.00"),
            (9.999, "10.0"),
            (99.99, "100"),
            (12_345.0, "12345"),
            (123_456.0, "123k"),
            (1e7, "10M"),
        ] {
            assert_eq!(short(number), shown);
        }
        for (size, shown) in [
            (0.0, "0B"),
            (999.0, "999B"),
            (1000.0, "1.0KiB"),
            (65_536.0, "64KiB"),
            (53_000_000.0, "51MiB"),
            (1e18, "909495TiB"),
        ] {
            assert_eq!(bytes(size), shown);
        }
    }
}
