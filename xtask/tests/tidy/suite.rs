//! The contract's rules match their tests: each rule has a test with its name that quotes it, and
//! each such test is in the contract's table.

use std::collections::BTreeMap;

use crate::complaint::{Complaint, assert_none};
use crate::tree::File;

/// The file with the rules and the table of tests.
const CONTRACT: &str = "docs/contract.md";

/// The folder of the tests.
const SUITE: &str = "tests/integration/contract/";

/// A test that is named after a rule.
struct Test<'a> {
    file: &'a File,
    line: usize,
    name: &'a str,
    /// The doc comment, as one line.
    doc: String,
}

fn rules_and_tests_agree(tree: &[File]) -> Vec<Complaint> {
    let Some(contract) = tree.iter().find(|file| file.path == CONTRACT) else {
        return Vec::new();
    };
    let rules = table(contract, "| rule | |");
    let listed = table(contract, "| rule | tests |");
    let tests = tests(tree);
    let mut complaints = Vec::new();
    for (rule, (line, _)) in &rules {
        let names = listed.get(rule).map(|(_, names)| code(names));
        if names.is_none_or(|names| names.is_empty()) {
            let why = format!("{rule} has no test in the table");
            complaints.push(Complaint::new(contract, *line, why));
        }
    }
    for (rule, (line, names)) in &listed {
        for name in code(names) {
            let is_there = tests.iter().any(|test| test.name == name);
            if !is_there || rule_of(name).as_ref() != Some(rule) {
                let why = format!("there is no test {name} of {rule}");
                complaints.push(Complaint::new(contract, *line, why));
            }
        }
    }
    for test in &tests {
        let Some(rule) = rule_of(test.name) else {
            continue;
        };
        let is_listed = listed
            .get(&rule)
            .is_some_and(|(_, names)| code(names).contains(&test.name));
        if !is_listed {
            let why = format!("{} is not in the table of {CONTRACT}", test.name);
            complaints.push(Complaint::new(test.file, test.line, why));
        }
        let quote = test
            .doc
            .strip_prefix(&format!("{rule}: \""))
            .and_then(|rest| rest.strip_suffix('"'));
        let text = rules.get(&rule).map_or("", |(_, text)| text);
        if !quote.is_some_and(|quote| !quote.is_empty() && text.contains(quote)) {
            let why = format!("{} does not quote {rule} from {CONTRACT}", test.name);
            complaints.push(Complaint::new(test.file, test.line, why));
        }
    }
    complaints
}

/// Returns the rows of the tables with this header: the rule, its line number, and the second
/// column.
fn table<'a>(file: &'a File, head: &str) -> BTreeMap<String, (usize, &'a str)> {
    let mut rows = BTreeMap::new();
    let mut inside = false;
    for (index, line) in file.text.lines().enumerate() {
        inside = line == head || (inside && line.starts_with('|'));
        let mut cells = line.trim_matches('|').splitn(2, '|').map(str::trim);
        if let (true, Some(rule), Some(text)) = (inside, cells.next(), cells.next())
            && is_rule(rule)
        {
            rows.insert(rule.to_owned(), (index + 1, text));
        }
    }
    rows
}

fn tests(tree: &[File]) -> Vec<Test<'_>> {
    let mut tests = Vec::new();
    for file in tree.iter().filter(|file| file.path.starts_with(SUITE)) {
        let mut doc = Vec::new();
        for (index, line) in file.text.lines().enumerate() {
            if let Some(text) = line.strip_prefix("///") {
                doc.push(text.trim());
            } else if let Some(rest) = line.strip_prefix("fn ") {
                let name = rest.split('(').next().unwrap_or_default();
                if rule_of(name).is_some() {
                    tests.push(Test {
                        file,
                        line: index + 1,
                        name,
                        doc: doc.join(" "),
                    });
                }
                doc.clear();
            } else if !line.starts_with("#[") {
                doc.clear();
            }
        }
    }
    tests
}

/// Returns the rule in a test's name: `R3` of `r3_a_second_call`.
fn rule_of(test: &str) -> Option<String> {
    let (front, _) = test.split_once('_')?;
    let rule = front.to_ascii_uppercase();
    (front != rule && is_rule(&rule)).then_some(rule)
}

fn is_rule(text: &str) -> bool {
    text.len() == 2
        && text.starts_with(['E', 'I', 'R', 'B'])
        && text.ends_with(|last: char| last.is_ascii_digit())
}

/// Returns the code spans of a text.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn each_rule_has_its_tests() {
    let tree = crate::tree::tree();
    assert_none(&rules_and_tests_agree(&tree));
    let contract = tree.iter().find(|file| file.path == CONTRACT);
    let rules = table(contract.expect("it is there"), "| rule | |");
    assert_eq!(rules.len(), 22, "E1 to E5, I1 to I5, R1 to R6, B1 to B6");
}

#[test]
fn rules_and_tests_that_disagree_are_found() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let complaints = |contract: &str, suite: &str| {
        let tree = [
            file(CONTRACT, contract),
            file("tests/integration/contract/a.rs", suite),
        ];
        let complaints = rules_and_tests_agree(&tree);
        let lines = complaints.iter().map(|one| (one.path.clone(), one.line));
        lines.collect::<Vec<_>>()
    };
    let rules = "| rule | |\n|---|---|\n| R1 | Some words. |\n\n| rule | tests |\n|---|---|\n";
    let contract = |row: &str| format!("{rules}{row}\n");
    let row = contract("| R1 | `r1_a` |");
    let good = "/// R1: \"Some words\"\n#[test]\nfn r1_a() {}\n";
    assert!(complaints(&row, good).is_empty());

    let (at_rule, at_row) = ((CONTRACT.to_owned(), 3), (CONTRACT.to_owned(), 7));
    let suite = |line| ("tests/integration/contract/a.rs".to_owned(), line);
    assert_eq!(complaints(&contract(""), good), [at_rule, suite(3)]);
    assert_eq!(
        complaints(&row, "fn other() {}"),
        std::slice::from_ref(&at_row)
    );
    let wrong = contract("| R1 | `r1_a`, `r2_b` |");
    assert_eq!(complaints(&wrong, good), [at_row]);
    for quote in [
        "",
        "/// R1: \"Other words\"\n",
        "/// R1: \"\"\n",
        "/// Some words\n",
    ] {
        let test = format!("{quote}#[test]\nfn r1_a() {{}}\n");
        assert_eq!(complaints(&row, &test).len(), 1, "{quote:?}");
    }
}
