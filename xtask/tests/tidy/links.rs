//! Documents and comments refer only to files and sections that exist.

use std::fs;
use std::path::{Path, PathBuf};

use crate::complaint::{Complaint, assert_tidy, lines};
use crate::tree::{File, root};

/// The folders whose files are checked. Files in `handlers/` and `target/` may be build outputs.
const FOLDERS: [&str; 9] = [
    "benches/",
    "docs/",
    "fuzz/",
    "guest-sdk/",
    "host/",
    "tests/",
    "tools/",
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
    for (number, line) in outside_of_blocks(&file.text) {
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

/// Every link to a section, `[text](file#section)`, leads to a heading of that file.
fn sections_exist(file: &File) -> Vec<Complaint> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let own = root().join(&file.path);
    let mut complaints = Vec::new();
    for (number, line) in outside_of_blocks(&file.text) {
        for target in targets(line).filter(|target| !target.contains("://")) {
            let Some((path, section)) = target.split_once('#') else {
                continue;
            };
            let text = match path {
                "" => Some(file.text.clone()),
                path => fs::read_to_string(own.with_file_name(path)).ok(),
            };
            let is_there = text.is_none_or(|text| anchors(&text).any(|anchor| anchor == section));
            if !is_there {
                complaints.push(Complaint::new(file, number, format!("no section {target}")));
            }
        }
    }
    complaints
}

/// Returns the anchors of a document's headings, as GitHub generates them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = outside_of_blocks(text).filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        (title.len() < line.len()).then_some(title.strip_prefix(' ')?)
    });
    headings.map(|title| {
        let kept = title.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || matches!(c, '-' | '_') => Some(c),
            _ => None,
        });
        kept.collect::<String>().to_lowercase()
    })
}

/// Every file that a document or a comment names, such as `` `host/src/lib.rs` ``, exists.
fn named_files_exist(file: &File) -> Vec<Complaint> {
    let names = match file.extension() {
        "md" => code_spans(&file.text),
        "rs" | "wit" => spans_in_comments(&file.text),
        _ => return Vec::new(),
    };
    let missing = names
        .into_iter()
        .filter(|(_, name)| is_path(name) && !root().join(name).exists());
    missing
        .map(|(number, name)| Complaint::new(file, number, format!("no file {name}")))
        .collect()
}

/// Returns the code spans of comments with their line numbers.
fn spans_in_comments(text: &str) -> Vec<(usize, String)> {
    let comments = outside_of_blocks(text).filter(|(_, line)| line.trim_start().starts_with("//"));
    let names = comments.flat_map(|(number, line)| {
        let names = line.split('`').skip(1).step_by(2);
        names.map(move |name| (number, name.to_owned()))
    });
    names.collect()
}

/// Returns whether a text is a path in this repository, rather than a pattern.
fn is_path(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    FOLDERS.iter().any(|folder| name.starts_with(folder)) && name.chars().all(is_plain)
}

/// Every source file of the host that a document names by its module, such as
/// `` `server/lanes.rs` ``, every folder of a module and every Python file of the SDK exists.
fn named_sources_exist(file: &File) -> Vec<Complaint> {
    if file.extension() != "md" {
        return Vec::new();
    }
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    let mut complaints = Vec::new();
    for (number, name) in code_spans(&file.text) {
        if is_source(&name)
            && !source_places(folder, &name).any(|place| root().join(place).exists())
        {
            complaints.push(Complaint::new(
                file,
                number,
                format!("no source file {name}"),
            ));
        }
    }
    complaints
}

/// Returns whether a text is the path of a source file or of a module's folder, rather than a
/// pattern.
fn is_source(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let Some((first, rest)) = name.split_once('/') else {
        return false;
    };
    if name.starts_with("handlers/") || rest.is_empty() || !name.chars().all(is_plain) {
        return false;
    }
    let is_module = ["host/src", "host/crates"]
        .iter()
        .any(|parent| !first.is_empty() && root().join(parent).join(first).is_dir());
    is_module || name.ends_with(".rs") || name.ends_with(".py")
}

/// Returns the paths to which a source's name in a document in `folder` may refer.
fn source_places(folder: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    let (first, rest) = name.split_once('/').unwrap_or((name, ""));
    let below = |parent: &str| Path::new(parent).join(name);
    [
        below(""),
        folder.join(name),
        below("host/src"),
        below("guest-sdk/python/src"),
        Path::new("host/crates").join(first).join("src").join(rest),
    ]
    .into_iter()
}

/// Returns the code spans outside a document's code blocks, with their line numbers. A span may
/// extend over several lines.
fn code_spans(text: &str) -> Vec<(usize, String)> {
    let mut spans = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in outside_of_blocks(text) {
        if line.trim().is_empty() {
            open = None;
        }
        for (index, part) in line.split('`').enumerate() {
            if index > 0 {
                match open.take() {
                    Some(span) => spans.push(span),
                    None => open = Some((number, String::new())),
                }
            }
            if let Some((_, span)) = &mut open {
                span.push_str(part);
            }
        }
        if let Some((_, span)) = &mut open {
            span.push(' ');
        }
    }
    spans
}

/// Returns the lines outside of code blocks, with their numbers.
pub(crate) fn outside_of_blocks(text: &str) -> impl Iterator<Item = (usize, &str)> {
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
    assert_tidy(&[
        links_lead_somewhere,
        sections_exist,
        named_files_exist,
        named_sources_exist,
    ]);
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
fn links_to_missing_sections_are_found() {
    let rule = sections_exist;
    let text = "# A `b`: c_d\n[a](#a-b-c_d) [b](#b)\n```\n# E\n```\n[c](#e)";
    assert_eq!(lines(rule, "a.md", text), [2, 6]);
    let other = "[a](../README.md#quick-start) [`b`](../README.md#no-such)";
    assert_eq!(lines(rule, "docs/a.md", other), [1]);
    assert!(lines(rule, "a.md", "[a](https://a.example/#b) [c](README.md)").is_empty());
    assert!(lines(rule, "a.rs", "[a](#b)").is_empty());
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

#[test]
fn names_of_missing_sources_are_found() {
    let rule = named_sources_exist;
    assert_eq!(lines(rule, "a.md", "See\n`server/no_such.rs`."), [2]);
    assert_eq!(
        lines(rule, "a.md", "`engine/no_such`, `wasgi/no_such.py`"),
        [1, 1]
    );
    assert_eq!(lines(rule, "a.md", "`a` `b\nc` `fuse/no_such.rs`"), [2]);
    let fine = "`server/mod.rs`, `component/fuse`, `http1/lib.rs`, `wasgi/guest/census.py`, \
                `server/*.rs`, `text/html`, `handlers/a.py`, `lanes.rs`, `log/`";
    assert!(lines(rule, "a.md", fine).is_empty());
    assert!(lines(rule, "guest-sdk/rust/a.md", "`src/lib.rs`").is_empty());
    assert!(lines(rule, "a.rs", "// `server/no_such.rs`").is_empty());
    assert!(lines(rule, "a.md", "```\n`server/no_such.rs`\n```").is_empty());
}
