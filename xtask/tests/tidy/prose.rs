//! The width of a document's prose.

use crate::complaint::{Complaint, assert_tidy, lines};
use crate::links::outside_of_blocks;
use crate::tree::File;

/// The maximum width of prose: that of comments in the code.
const PROSE_WIDTH_COLUMNS: usize = 100;

/// The prose of a document is wrapped. Tables, headings, reference links, HTML comments and code
/// blocks may be wider, and so may a line that holds a single link or code span.
fn prose_is_narrow(file: &File) -> Vec<Complaint> {
    if file.extension() != "md" {
        return Vec::new();
    }
    outside_of_blocks(&file.text)
        .filter(|(_, line)| line.chars().count() > PROSE_WIDTH_COLUMNS)
        .filter(|(_, line)| can_be_wrapped(line.trim_start()))
        .map(|(number, _)| Complaint::new(file, number, "prose wider than 100 columns"))
        .collect()
}

/// Returns whether a line is prose that contains a space at which it can be wrapped.
fn can_be_wrapped(line: &str) -> bool {
    let is_reference = line.starts_with('[') && line.contains("]: ");
    let is_fixed = line.starts_with(['|', '#']) || line.starts_with("<!--") || is_reference;
    !is_fixed && has_space(without_marker(line))
}

/// Returns a list item without its marker, `- ` or `1. `.
fn without_marker(line: &str) -> &str {
    match line.split_once(' ') {
        Some(("-" | "*", item)) => item,
        Some((number, item)) if is_number(number) => item,
        _ => line,
    }
}

/// Returns whether a word is the marker of a numbered list.
fn is_number(marker: &str) -> bool {
    let digits = marker.strip_suffix('.').unwrap_or_default();
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// Returns whether a text contains a space outside links and code spans.
fn has_space(mut text: &str) -> bool {
    while let Some(first) = text.chars().next() {
        let length = match first {
            ' ' => return true,
            '`' => code_span(text),
            '[' => link(text),
            _ => None,
        };
        text = &text[length.unwrap_or(first.len_utf8())..];
    }
    false
}

/// Returns the length in bytes of the code span at the start of a text.
fn code_span(text: &str) -> Option<usize> {
    Some(text[1..].find('`')? + 2)
}

/// Returns the length in bytes of the link, `[text](target)`, at the start of a text.
fn link(text: &str) -> Option<usize> {
    let middle = text.find("](")?;
    Some(middle + text[middle..].find(')')? + 1)
}

#[test]
fn documents_are_wrapped() {
    assert_tidy(&[prose_is_narrow]);
}

#[test]
fn wide_prose_is_found() {
    let half = "x".repeat(PROSE_WIDTH_COLUMNS / 2);
    let fits = format!("{half} {}", &half[1..]);
    let wide = format!("{half} {half}");
    let rule = prose_is_narrow;
    assert!(lines(rule, "a.md", fits.as_str()).is_empty());
    assert_eq!(lines(rule, "a.md", format!("a\n{wide}")), [2]);
    for start in ["- ", "  ", "10. ", "> ", "**a** ", "[a] ", "`a` "] {
        assert_eq!(
            lines(rule, "a.md", format!("{start}{fits}")),
            [1],
            "{start}"
        );
    }
    let umlauts = "ä".repeat(PROSE_WIDTH_COLUMNS / 2);
    let fits = format!("{umlauts} {umlauts}").replacen('ä', "", 1);
    assert!(
        lines(rule, "a.md", fits).is_empty(),
        "columns are characters, not bytes"
    );
}

#[test]
fn what_cannot_be_wrapped_may_be_wide() {
    let wide = format!("{0} {0}", "x".repeat(PROSE_WIDTH_COLUMNS / 2));
    for line in [
        format!("| {wide} |"),
        format!("# {wide}"),
        format!("[a]: {wide}"),
        format!("<!-- run: {wide} -->"),
        format!("```\n{wide}\n```"),
        format!("- [{wide}](a.md)"),
        format!("![{wide}](a.png)"),
        format!("1. `{wide}`"),
        format!("(`{wide}`),"),
        wide.replace(' ', "x"),
    ] {
        assert!(
            lines(prose_is_narrow, "a.md", line.as_str()).is_empty(),
            "{line}"
        );
    }
    let two = format!("`{wide}` `a`");
    assert_eq!(lines(prose_is_narrow, "a.md", two), [1]);
    assert!(lines(prose_is_narrow, "a.txt", wide).is_empty());
}
