//! The shape of a source file: its length, the width of its comments, and its introduction.

use crate::complaint::{Complaint, assert_tidy, lines};
use crate::tree::File;

/// The maximum length of a file. A longer file has more than one subject. Most files should stay
/// below 400 lines; some need more for their tests.
const LENGTH_LIMIT_LINES: usize = 600;

/// The maximum width of a comment: that of the code, which rustfmt enforces.
const COMMENT_WIDTH_COLUMNS: usize = 100;

/// Source files don't exceed the length limit.
fn files_are_short(file: &File) -> Vec<Complaint> {
    let length = file.text.lines().count();
    if file.extension() != "rs" || length <= LENGTH_LIMIT_LINES {
        return Vec::new();
    }
    let what = format!("{length} lines, and {LENGTH_LIMIT_LINES} is the limit");
    vec![Complaint::new(file, LENGTH_LIMIT_LINES + 1, what)]
}

/// Comments are wrapped, except for URLs.
fn comments_are_narrow(file: &File) -> Vec<Complaint> {
    if !matches!(file.extension(), "rs" | "wit") {
        return Vec::new();
    }
    let is_wide = |line: &str| {
        line.trim_start().starts_with("//")
            && line.chars().count() > COMMENT_WIDTH_COLUMNS
            && !line.contains("://")
    };
    let numbered = file.text.lines().enumerate();
    numbered
        .filter(|(_, line)| is_wide(line))
        .map(|(index, _)| Complaint::new(file, index + 1, "a comment wider than 100 columns"))
        .collect()
}

/// A source file starts with a doc comment.
fn files_introduce_themselves(file: &File) -> Vec<Complaint> {
    if file.extension() != "rs" || file.text.starts_with("//! ") {
        return Vec::new();
    }
    vec![Complaint::new(file, 1, "no module doc on top")]
}

#[test]
fn source_files_are_in_shape() {
    assert_tidy(&[
        files_are_short,
        comments_are_narrow,
        files_introduce_themselves,
    ]);
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(
        lines(
            files_are_short,
            "a.rs",
            "x\n".repeat(LENGTH_LIMIT_LINES + 1)
        )
        .len(),
        1
    );
    assert!(lines(files_are_short, "a.rs", "x\n".repeat(LENGTH_LIMIT_LINES)).is_empty());
    assert!(
        lines(
            files_are_short,
            "a.md",
            "x\n".repeat(LENGTH_LIMIT_LINES + 1)
        )
        .is_empty()
    );
}

#[test]
fn a_wide_comment_is_found() {
    let wide = format!("/// {}", "x".repeat(COMMENT_WIDTH_COLUMNS - 3));
    assert_eq!(
        lines(comments_are_narrow, "a.rs", format!("{wide}\nx")),
        [1]
    );
    assert_eq!(
        lines(comments_are_narrow, "a.wit", format!("x\n  {wide}")),
        [2]
    );
    assert!(
        lines(comments_are_narrow, "a.rs", &wide[1..]).is_empty(),
        "100 columns fit"
    );
    assert!(
        lines(
            comments_are_narrow,
            "a.rs",
            format!("{wide} https://a.example")
        )
        .is_empty()
    );
    let umlauts = format!("// {}", "ä".repeat(COMMENT_WIDTH_COLUMNS - 3));
    assert!(
        lines(comments_are_narrow, "a.rs", umlauts).is_empty(),
        "columns are no bytes"
    );
}

#[test]
fn a_file_without_an_introduction_is_found() {
    assert_eq!(
        lines(
            files_introduce_themselves,
            "a.rs",
            "use std::fs;\n//! Late."
        ),
        [1]
    );
    assert!(lines(files_introduce_themselves, "a.rs", "//! A.\n").is_empty());
}
