//! Complaints about files, and the assertions that report them.

use std::fmt::{self, Display};

use crate::tree::{File, tree};

/// A violation of a rule in a file.
#[derive(Debug, PartialEq)]
pub(crate) struct Complaint {
    pub(crate) path: String,
    /// Starts at 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl Complaint {
    pub(crate) fn new(file: &File, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: file.path.clone(),
            line,
            what: what.into(),
        }
    }
}

impl Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A check of one file.
pub(crate) type Rule = fn(&File) -> Vec<Complaint>;

/// Fails with all complaints of the rules about the repository.
pub(crate) fn assert_tidy(rules: &[Rule]) {
    let tree = tree();
    let complaints = rules.iter().flat_map(|rule| tree.iter().flat_map(rule));
    assert_none(&complaints.collect::<Vec<_>>());
}

/// Fails with all complaints, one per line.
pub(crate) fn assert_none(complaints: &[Complaint]) {
    let list: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "\n{}\n", list.join("\n"));
}

/// Returns the lines of a rule's complaints about a file that a test made up.
pub(crate) fn lines(rule: Rule, path: &str, text: impl Into<String>) -> Vec<usize> {
    let file = File {
        path: path.to_owned(),
        text: text.into(),
    };
    rule(&file)
        .into_iter()
        .map(|complaint| complaint.line)
        .collect()
}
