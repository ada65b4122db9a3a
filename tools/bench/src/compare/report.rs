//! The report: tables in Markdown, between two markers in `docs/benchmarks.md`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::case::Case;
use super::plot::{self, Group};
use super::table::Table;

/// The file of the report, and that of its plot.
const DOCUMENT: &str = "docs/benchmarks.md";
const PLOT: &str = "docs/images/benchmarks.svg";

/// The benchmark replaces the text between these markers; the rest is written by people.
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The width of prose in the repository's documents.
const WIDTH_COLUMNS: usize = 100;

/// All results.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The machine, versions and rounds, one per line.
    pub(super) setting: Vec<String>,
    pub(super) cases: Vec<(&'static Case, Table)>,
}

impl Report {
    /// Returns the report as Markdown, for a terminal or for the document.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::new();
        for line in &self.setting {
            push_wrapped(&mut text, &format!("- {line}"));
        }
        for (case, table) in &self.cases {
            text.push_str(&format!("\n### {}\n\n", case.title));
            push_wrapped(&mut text, case.about);
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
                push_wrapped(&mut text, &format!("- {note}"));
            }
        }
        text
    }

    /// Writes the document, with `text` from [`Self::markdown`], and the plot.
    pub(super) fn write(&self, root: &Path, text: &str) -> Result<()> {
        let file = root.join(DOCUMENT);
        let old = fs::read_to_string(&file).with_context(|| format!("can't read {DOCUMENT}"))?;
        let picture = "![Ratios of requests per second](images/benchmarks.svg)";
        let measured = format!("{picture}\n\n{text}");
        let new = replace(&old, &measured)
            .with_context(|| format!("{DOCUMENT}: the marks {BEGIN} and {END} are missing"))?;
        fs::write(&file, new).with_context(|| format!("can't write {DOCUMENT}"))?;
        self.write_plot(&root.join(PLOT))
    }

    /// Writes only the plot.
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
        // The cell may contain a server's message.
        let cell = cell.as_ref().replace('|', "\\|");
        text.push_str(&format!("| {cell} "));
    }
    text.push_str("|\n");
}

/// Appends a paragraph or a list item, wrapped at [`WIDTH_COLUMNS`] between words. Code spans stay
/// whole.
fn push_wrapped(text: &mut String, paragraph: &str) {
    let indent = if paragraph.starts_with("- ") {
        "  "
    } else {
        ""
    };
    let mut column = 0;
    for word in words(paragraph) {
        let length = word.chars().count();
        if column == 0 {
            column = length;
        } else if column + 1 + length <= WIDTH_COLUMNS {
            text.push(' ');
            column += 1 + length;
        } else {
            text.push('\n');
            text.push_str(indent);
            column = indent.len() + length;
        }
        text.push_str(&word);
    }
    text.push('\n');
}

/// Splits a paragraph into words. A code span is one word.
fn words(paragraph: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_code = false;
    for part in paragraph.split(' ') {
        match words.last_mut() {
            Some(word) if is_code => word.push_str(&format!(" {part}")),
            _ => words.push(part.to_owned()),
        }
        is_code ^= part.matches('`').count() % 2 == 1;
    }
    words
}

/// Replaces the text between the markers.
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
    fn a_long_line_is_wrapped_and_its_code_stays_whole() {
        let wrapped = |paragraph: &str| {
            let mut text = String::new();
            push_wrapped(&mut text, paragraph);
            text
        };
        let (half, end) = (
            "x".repeat(WIDTH_COLUMNS / 2),
            "y".repeat(WIDTH_COLUMNS / 2 - 1),
        );
        assert_eq!(wrapped(&format!("{half} {end}")), format!("{half} {end}\n"));
        assert_eq!(
            wrapped(&format!("{half} {half}")),
            format!("{half}\n{half}\n")
        );
        assert_eq!(
            wrapped(&format!("- {half} {half}")),
            format!("- {half}\n  {half}\n")
        );
        assert_eq!(
            wrapped(&format!("{half} `a {half} b` c")),
            format!("{half}\n`a {half} b` c\n")
        );
    }

    #[test]
    fn the_document_has_its_marks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let document = fs::read_to_string(root.join(DOCUMENT)).expect("it is there");
        assert!(replace(&document, "x").is_some());
    }
}
