//! Leftovers of development: notes, stubs, and disabled tests.

use crate::complaint::{Complaint, assert_tidy, lines};
use crate::rust::code;
use crate::tree::File;

/// Notes about unfinished work. They are concatenated so that this file contains none.
const NOTES: [&str; 3] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
];

/// Macros for missing code, or for code that is not meant to stay.
const STUBS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Unfinished work is finished, or recorded as an issue.
fn no_notes(file: &File) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        if let Some(note) = words.find(|word| NOTES.contains(word)) {
            complaints.push(Complaint::new(
                file,
                index + 1,
                format!("{note} is no way to leave it"),
            ));
        }
    }
    complaints
}

/// No macro is a placeholder for missing code, not even in tests.
fn no_stubs(file: &File) -> Vec<Complaint> {
    if file.extension() != "rs" {
        return Vec::new();
    }
    let code = code(&file.text);
    let calls = code
        .windows(2)
        .filter(|pair| STUBS.contains(&pair[0].text) && pair[1].text == "!");
    calls
        .map(|call| {
            Complaint::new(
                file,
                call[0].line,
                format!("`{}!` is no code", call[0].text),
            )
        })
        .collect()
}

/// A disabled test gives a reason.
fn no_silent_ignore(file: &File) -> Vec<Complaint> {
    if file.extension() != "rs" {
        return Vec::new();
    }
    let code = code(&file.text);
    let attributes = code.windows(3).filter(|window| {
        window
            .iter()
            .map(|token| token.text)
            .eq(["[", "ignore", "]"])
    });
    attributes
        .map(|window| {
            Complaint::new(
                file,
                window[0].line,
                "a test that is ignored without reason",
            )
        })
        .collect()
}

#[test]
fn nothing_is_left_over() {
    assert_tidy(&[no_notes, no_stubs, no_silent_ignore]);
}

#[test]
fn notes_are_found_in_every_kind_of_file() {
    for note in NOTES {
        assert_eq!(lines(no_notes, "a.rs", format!("a\n// {note}: b")), [2]);
        assert_eq!(lines(no_notes, "a.md", format!("({note})")), [1]);
    }
    assert!(lines(no_notes, "a.rs", "// to do, METHODS, XXXL").is_empty());
}

#[test]
fn stubs_are_found() {
    for stub in STUBS {
        assert_eq!(
            lines(no_stubs, "a.rs", format!("fn f() {{\n    {stub}!()\n}}")),
            [2]
        );
        assert!(lines(no_stubs, "a.rs", format!("// {stub}!()\nlet {stub} = 1;")).is_empty());
    }
}

#[test]
fn ignored_tests_are_found() {
    assert_eq!(
        lines(no_silent_ignore, "a.rs", "#[test]\n#[ignore]\nfn f() {}"),
        [2]
    );
    assert!(lines(no_silent_ignore, "a.rs", "#[ignore = \"needs a network\"]").is_empty());
}
