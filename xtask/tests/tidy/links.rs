//! Documents and comments refer only to files that exist.

use std::path::Path;

use crate::complaint::{Complaint, assert_tidy, lines};
use crate::tree::{File, root};

/// The folders whose files are checked. Files in `handlers/` and `target/` may be build outputs.
const FOLDERS: [&str; 8] = [
    "benches/",
    "docs/",
    "fuzz/",
    "guest-sdk/",
    "host/",
    "tests/",
    "wit/",
    "xtask/",
];

/// Every link of a document, `[text](target)`, leads to another site or to an existing file.
fn links_lead_somewhere(file: &File) -> Vec<Complaint> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let folder = root().join(Path::new(&file.path).parent().unwrap_or(Path::new("")));
    let mut complaints = Vec::new();
    for (number, line) in prose(&file.text) {
        for target in targets(&without_code(line)) {
            let path = target.split('#').next().unwrap_or_default();
            if !target.contains("://")
                && !target.starts_with("mailto:")
                && !folder.join(path).exists()
            {
                complaints.push(Complaint::new(file, number, format!("no file {path}")));
            }
        }
    }
    complaints
}

/// Every file that a document or a comment names, such as `` `host/src/lib.rs` ``, exists.
fn named_files_exist(file: &File) -> Vec<Complaint> {
    let is_read: fn(&str) -> bool = match file.extension() {
        "md" => |_| true,
        "rs" | "wit" => |line| line.trim_start().starts_with("//"),
        _ => return Vec::new(),
    };
    let mut complaints = Vec::new();
    for (number, line) in prose(&file.text).filter(|(_, line)| is_read(line)) {
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| is_path(name))
        {
            if !root().join(name).exists() {
                complaints.push(Complaint::new(file, number, format!("no file {name}")));
            }
        }
    }
    complaints
}

/// Returns whether a text is a path in this repository, rather than a pattern.
fn is_path(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    FOLDERS.iter().any(|folder| name.starts_with(folder)) && name.chars().all(is_plain)
}

/// Returns the lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_block = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line
            .trim_start()
            .trim_start_matches(['/', '!', ' '])
            .starts_with("```");
        in_block ^= is_fence;
        (!in_block && !is_fence).then_some((index + 1, line))
    })
}

/// Returns a line without its code spans.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// Returns the targets of the links in a line.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next())
}

#[test]
fn every_link_and_name_is_right() {
    assert_tidy(&[links_lead_somewhere, named_files_exist]);
}

#[test]
fn broken_links_are_found() {
    let rule = links_lead_somewhere;
    assert_eq!(
        lines(rule, "docs/a.md", "x\n[a](no-such.md) [b](../Cargo.toml)"),
        [2]
    );
    assert_eq!(
        lines(rule, "a.md", "![a](docs/no.png \"title\")\n[b](c.md#d)"),
        [1, 2]
    );
    assert_eq!(lines(rule, "a.md", "[a](#here) [`b`](gone.md)"), [1]);
    let fine = "[a](https://a.example/b.md) [b](Cargo.toml#c)\n```\n[c](no.md)\n```\n`[d](no.md)`";
    assert!(lines(rule, "a.md", fine).is_empty());
    assert!(lines(rule, "a.rs", "[a](no-such.md)").is_empty());
}

#[test]
fn names_of_missing_files_are_found() {
    let rule = named_files_exist;
    assert_eq!(lines(rule, "a.md", "See\n`host/no/such.rs`."), [2]);
    assert_eq!(
        lines(
            rule,
            "a.rs",
            "//! `docs/no-such.md`\nlet a = \"`docs/no-such.md`\";"
        ),
        [1]
    );
    assert_eq!(lines(rule, "a.wit", "/// See `docs/no-such.md`."), [1]);
    let fine = "`host/Cargo.toml`, `tests/*.rs`, `host/<a>`, `a/b`, `handlers/a.wasm`";
    assert!(lines(rule, "a.md", fine).is_empty());
}
