//! Checks that a type that other files use says of what it is, and that no function is called `of`.

use crate::complaint::{Complaint, assert_none};
use crate::rust::{code, code_before_tests};
use crate::tree::{File, tree};

/// Names of types that say nothing outside their file.
const BARE: [&str; 3] = ["State", "Kind", "Options"];

const DEFINITIONS: [&str; 4] = ["struct", "enum", "type", "trait"];

/// The folder whose files are checked: programs in `tools/` have one set of options each.
const FOLDER: &str = "host/";

fn types_say_of_what(file: &File) -> Vec<Complaint> {
    if !file.path.starts_with(FOLDER) || file.extension() != "rs" {
        return Vec::new();
    }
    let code = code_before_tests(&file.text);
    let words = |at: usize| code.get(at).map_or("", |token| token.text);
    let is_bare = |at: &usize| {
        let is_public = words(*at) == "pub" || (words(*at) == ")" && is_visibility(&code, *at));
        is_public && DEFINITIONS.contains(&words(at + 1)) && BARE.contains(&words(at + 2))
    };
    let bare = (0..code.len()).filter(is_bare);
    bare.map(|at| {
        let why = format!("a public type called {}: say of what", words(at + 2));
        Complaint::new(file, code[at].line, why)
    })
    .collect()
}

/// A constructor is `new`, `from_…` or `for_…`: `of` alone doesn't say what it is made from.
fn no_function_is_called_of(file: &File) -> Vec<Complaint> {
    if file.extension() != "rs" {
        return Vec::new();
    }
    let code = code(&file.text);
    let words = code.windows(2);
    let named = words.filter(|words| words[0].text == "fn" && words[1].text == "of");
    named
        .map(|words| {
            let why = "a function called of: say new, from_… or for_…".to_owned();
            Complaint::new(file, words[0].line, why)
        })
        .collect()
}

/// Returns whether the parenthesis ends a visibility, such as `pub(in crate::engine)`.
fn is_visibility(code: &[crate::rust::Token<'_>], end: usize) -> bool {
    let start = code[..end].iter().rposition(|token| token.text == "(");
    start.is_some_and(|start| start > 0 && code[start - 1].text == "pub")
}

#[test]
fn types_that_other_files_use_say_of_what() {
    let files = tree();
    let complaints: Vec<Complaint> = files.iter().flat_map(types_say_of_what).collect();
    assert_none(&complaints);
}

#[test]
fn functions_say_what_they_make() {
    let files = tree();
    let complaints: Vec<Complaint> = files.iter().flat_map(no_function_is_called_of).collect();
    assert_none(&complaints);
}

#[test]
fn a_bare_name_is_found_unless_it_is_private() {
    let count = |text: &str| {
        let file = File {
            path: "host/src/a.rs".to_owned(),
            text: text.to_owned(),
        };
        types_say_of_what(&file).len()
    };
    assert_eq!(count("pub struct State;"), 1);
    assert_eq!(count("pub(super) enum Kind {}"), 1);
    assert_eq!(count("pub(in crate::a) type State = u8;"), 1);
    assert_eq!(count("enum Kind {} fn f(a: (u8)) {} struct State;"), 0);
    assert_eq!(count("pub struct StoreState;"), 0);
}
