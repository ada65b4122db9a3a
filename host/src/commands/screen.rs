//! The start screen of `wasgi dev`, and of `wasgi serve` on a terminal.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::path::Path;

use super::service::Service;
use crate::config::Config;
use crate::log::{Log, LogFormat, Verbosity};
use crate::printable;
use crate::registry::{RouteTable, RowState};
use crate::terminal::{self, Style};

/// The maximum number of routes, and of problems, that the screen shows: with them it fits into a
/// window of usual height.
const MAX_LINES: usize = 16;

/// What differs between the commands.
pub(super) struct Screen {
    /// The name of the command.
    pub command: &'static str,
    /// The last sentences.
    pub hint: &'static str,
    /// The path of the dashboard, if there is one.
    pub dashboard: Option<&'static str>,
}

/// Returns whether the screen is shown: in a terminal, if the log is text and has informational
/// lines. `wasgi serve` otherwise prints plain lines.
pub(super) fn is_watched(config: &Config, out: &Log) -> bool {
    let is_text = out.format() == LogFormat::Text;
    is_text && config.server.log_level >= Verbosity::Info && io::stdout().is_terminal()
}

impl Screen {
    /// Returns the text of the screen, with colours if the standard output shows them.
    pub(super) fn text(&self, config: &Config, service: &Service, out: &Log) -> String {
        let has_colours = terminal::has_colours(&io::stdout()) && out.format() == LogFormat::Text;
        let style = |style, text: &str| match has_colours {
            true => terminal::paint(style, text),
            false => text.to_owned(),
        };
        let routes = service.routes();
        let mut text = format!(
            "\n  {}  {}\n\n  pages      {}\n  handlers   {}  {}\n",
            style(Style::TITLE, &format!("wasgi {}", self.command)),
            style(Style::DIM, env!("CARGO_PKG_VERSION")),
            shown(config.site.root()),
            shown(config.site.handlers()),
            style(Style::DIM, &kinds(routes)),
        );
        let url = service.url();
        let url = url.trim_end_matches('/');
        // Writing to a string never fails.
        if let Some(path) = self.dashboard {
            let _ = writeln!(text, "  dashboard  {url}{path}");
        }
        text.push('\n');
        let table = printable::report(&shortened(routes).to_string()).to_string();
        let words = [("problem:", Style::RED)];
        let table = match has_colours {
            true => terminal::paint_words(&table, &words),
            false => table,
        };
        for line in table.lines() {
            let _ = writeln!(text, "  {line}");
        }
        if let Some(more) = left_out(routes) {
            let _ = writeln!(text, "  {}", style(Style::DIM, &more));
        }
        if !table.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(text, "  {}\n", self.hint);
        let address = format!("{url}/");
        let _ = writeln!(
            text,
            "{} {}",
            style(Style::GREEN, "listening on"),
            style(Style::LINK, &address)
        );
        text + &service.redirect_line()
    }
}

/// Returns a folder for a line.
fn shown(folder: &Path) -> String {
    printable::line_of_bytes(folder.as_os_str().as_encoded_bytes()).to_string()
}

/// Counts the handlers of each kind, and those that are not served yet.
fn kinds(routes: &RouteTable) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &routes.rows {
        let kind = match row.state {
            RowState::Served => row.kind.as_str(),
            other => other.as_str(),
        };
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    match kinds.is_empty() {
        true => "none yet: `wasgi new --handler NAME` makes one".to_owned(),
        false => kinds.join(", "),
    }
}

/// Returns the first routes and problems.
fn shortened(routes: &RouteTable) -> RouteTable {
    let mut routes = routes.clone();
    routes.rows.truncate(MAX_LINES);
    routes.problems.truncate(MAX_LINES);
    routes
}

/// Says how much [`shortened`] leaves out.
fn left_out(routes: &RouteTable) -> Option<String> {
    let more = |count: usize, what: &str| match count.saturating_sub(MAX_LINES) {
        0 => None,
        1 => Some(format!("1 more {what}")),
        more => Some(format!("{more} more {what}s")),
    };
    let routes_left = more(routes.rows.len(), "route");
    let problems_left = more(routes.problems.len(), "problem");
    let parts: Vec<String> = [routes_left, problems_left].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("… and {}: `wasgi routes`", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Row;

    fn table(count: usize) -> RouteTable {
        let row = |number: usize| Row {
            route: format!("/{number:03}"),
            file: format!("handlers/{number:03}.py"),
            kind: "wasgi".to_owned(),
            imports: Vec::new(),
            state: match number {
                0 => RowState::Building,
                _ => RowState::Served,
            },
            granted: Vec::new(),
            not_granted: Vec::new(),
        };
        RouteTable {
            rows: (0..count).map(row).collect(),
            problems: Vec::new(),
        }
    }

    #[test]
    fn a_large_site_fits_into_a_window() {
        assert_eq!(kinds(&table(3)), "1 building, 2 wasgi");
        assert!(kinds(&table(0)).contains("wasgi new"));
        assert_eq!(left_out(&table(MAX_LINES)), None);
        let large = table(1000);
        assert_eq!(shortened(&large).to_string().lines().count(), MAX_LINES);
        let more = left_out(&large).expect("there are more");
        assert_eq!(more, "… and 984 more routes: `wasgi routes`");
    }
}
