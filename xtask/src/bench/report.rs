//! The report: tables as Markdown, between two marks in `docs/benchmarks.md`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::case::Case;
use super::plot::{self, Group};
use super::table::Table;

/// The report's place, and the plot's beside it.
const DOCUMENT: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/images/benchmarks.svg";

/// What is between these is written by the bench; the rest by people.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Machine, versions, rounds: a line each.
    pub(super) setting: Vec<String>,
    pub(super) cases: Vec<(&'static Case, Table)>,
}

impl Report {
    /// As text for a terminal, or for the document.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        for line in &self.setting {
            text.push_str(&format!("- {line}\n"));
        }
        for (case, table) in &self.cases {
            text.push_str(&format!("\n### {}\n\n{}\n", case.title, case.about));
            if !table.rows.is_empty() {
                text.push('\n');
                push_row(&mut text, &table.columns);
                let rule = |index| if index == 0 { "---" } else { "---:" };
                let rules: Vec<_> = (0..table.columns.len()).map(rule).collect();
                push_row(&mut text, &rules);
                for row in &table.rows {
                    push_row(&mut text, row);
                }
            }
            if !table.notes.is_empty() {
                text.push('\n');
            }
            for note in &table.notes {
                text.push_str(&format!("- {note}\n"));
            }
        }
        text
    }

    /// Writes document, with its text as [`Self::markdown`] has it, and plot.
    pub(super) fn write(&self, root: &Path, text: &str) -> Result<()> {
        let file = root.join(DOCUMENT);
        let old = fs::read_to_string(&file).with_context(|| format!("can't read {DOCUMENT}"))?;
        let picture = "![Ratios of requests per second](images/benchmarks.svg)";
        let measured = format!("{picture}\n\n{text}");
        let new = replace(&old, &measured)
            .with_context(|| format!("{DOCUMENT} has lost its marks {BEGIN} and {END}"))?;
        fs::write(&file, new).with_context(|| format!("can't write {DOCUMENT}"))?;
        self.write_plot(&root.join(PLOT))
    }

    /// Writes the plot alone.
    pub(super) fn write_plot(&self, file: &Path) -> Result<()> {
        let groups = self.cases.iter().map(|(case, table)| Group {
            title: case.title.to_owned(),
            bars: table.bars.clone(),
        });
        let svg = plot::svg(&groups.collect::<Vec<_>>());
        fs::write(file, svg).with_context(|| format!("can't write {}", file.display()))
    }
}

fn push_row(text: &mut String, cells: &[impl AsRef<str>]) {
    for cell in cells {
        // What a server said may be in it.
        let cell = cell.as_ref().replace('|', "\\|");
        text.push_str(&format!("| {cell} "));
    }
    text.push_str("|\n");
}

/// Puts a text between the marks.
fn replace(document: &str, measured: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    let measured = measured.trim_end();
    Some(format!("{before}{BEGIN}\n{measured}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::case::CASES;
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let document = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let new = replace(&document, "new\n\n").expect("it has marks");
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(replace(&new, "new"), Some(new.clone()));
        assert_eq!(replace("without", "new"), None);
        assert_eq!(replace(END, "new"), None);
    }

    #[test]
    fn a_table_is_markdown() {
        let table = Table {
            columns: vec!["server".into(), "x".into()],
            rows: vec![vec!["a|b".into(), "1".into()]],
            notes: vec!["it was late".into()],
            ..Table::default()
        };
        let report = Report {
            setting: vec!["here".into()],
            cases: vec![(&CASES[0], table)],
        };
        let text = report.markdown();
        assert!(text.starts_with("- here\n\n### Hello"), "{text}");
        let rows = "| server | x |\n| --- | ---: |\n| a\\|b | 1 |\n\n- it was late\n";
        assert!(text.ends_with(rows), "{text}");
    }

    #[test]
    fn the_document_has_its_marks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let document = fs::read_to_string(root.join(DOCUMENT)).expect("it is there");
        assert!(replace(&document, "x").is_some());
    }
}
