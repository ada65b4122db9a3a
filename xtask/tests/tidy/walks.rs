//! Checks the walks through the code in the description of the architecture: each step names an
//! existing file and its definitions, and an earlier step of the walk uses one of these, or the
//! step implements a definition of an earlier step.

use crate::complaint::{Complaint, assert_none};
use crate::tree::{File, tree};

const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";

/// The section's heading, and the start of each walk's heading.
const SECTION: &str = "## Walks through the code";
const WALK: &str = "### ";

/// The keywords that define a name in Rust.
const DEFINITIONS: [&str; 7] = ["fn", "struct", "enum", "trait", "mod", "type", "const"];

/// A step: a path, and the names that the document says the file defines.
struct Step<'a> {
    line: usize,
    path: &'a str,
    names: Vec<&'a str>,
}

fn walks_lead_somewhere(tree: &[File]) -> Vec<Complaint> {
    let Some(page) = tree.iter().find(|file| file.path == ARCHITECTURE) else {
        return Vec::new();
    };
    let mut complaints = Vec::new();
    for walk in walks(page) {
        let mut before = Vec::new();
        for step in walk {
            let Some(file) = tree.iter().find(|file| file.path == step.path) else {
                let why = format!("there is no file {}", step.path);
                complaints.push(Complaint::new(page, step.line, why));
                continue;
            };
            for name in &step.names {
                if !defines(&file.text, name) {
                    let why = format!("{} does not define {name}", step.path);
                    complaints.push(Complaint::new(page, step.line, why));
                }
            }
            let is_next = |(earlier, defined): &(&File, Vec<&str>)| {
                step.names.iter().any(|name| has_word(&earlier.text, name))
                    || defined.iter().any(|name| has_word(&file.text, name))
            };
            if !before.is_empty() && !before.iter().any(is_next) {
                let why = format!("no earlier step leads to {}", step.path);
                complaints.push(Complaint::new(page, step.line, why));
            }
            before.push((file, step.names));
        }
    }
    complaints
}

/// Returns the steps of each walk: the numbered items below its heading.
fn walks(page: &File) -> Vec<Vec<Step<'_>>> {
    let mut walks: Vec<Vec<Step<'_>>> = Vec::new();
    let mut is_inside = false;
    for (index, line) in page.text.lines().enumerate() {
        if line.starts_with("## ") {
            is_inside = line == SECTION;
        } else if is_inside && line.starts_with(WALK) {
            walks.push(Vec::new());
        } else if is_inside && line.starts_with(|first: char| first.is_ascii_digit()) {
            let mut code = line.split('`').skip(1).step_by(2);
            if let (Some(path), Some(walk)) = (code.next(), walks.last_mut()) {
                walk.push(Step {
                    line: index + 1,
                    path,
                    names: code.collect(),
                });
            }
        }
    }
    walks
}

/// Returns whether a Rust file defines an item with this name.
fn defines(text: &str, name: &str) -> bool {
    let is_definition = |line: &str| {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| DEFINITIONS.contains(&word)) && has_word(line, name)
    };
    text.lines().any(is_definition)
}

/// Returns whether a name occurs as a whole word.
fn has_word(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == name)
}

#[test]
fn each_step_of_a_walk_is_reached_from_an_earlier_one() {
    let tree = tree();
    assert_none(&walks_lead_somewhere(&tree));
    let page = tree.iter().find(|file| file.path == ARCHITECTURE);
    let walks = walks(page.expect("the page exists"));
    assert_eq!(walks.len(), 3, "a request, a changed handler, a key");
    assert!(
        walks.iter().all(|walk| walk.len() >= 5),
        "and none is short"
    );
}

#[test]
fn a_step_that_leads_nowhere_is_found() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let page = "## Walks through the code\n### One\n\n1. `a.rs`: `Start` begins\n\
                2. `b.rs`: `Next` goes on\n3. `c.rs`: `Last`\n4. `b.rs`: `Missing`\n\
                5. `d.rs`: `Unused`\n## Other\n1. `e.rs`: `Any`\n";
    let tree = [
        file(ARCHITECTURE, page),
        file("a.rs", "struct Start(Next);"),
        file("b.rs", "fn Next() {}"),
        file("d.rs", "enum Unused {}"),
    ];
    let complaints = walks_lead_somewhere(&tree);
    let found: Vec<_> = complaints.iter().map(|found| found.line).collect();
    assert_eq!(found, [6, 7, 8], "{complaints:?}");
}
