//! Checks that a type that other files use says of what it is.

use crate::complaint::{Complaint, assert_none};
use crate::rust::code_before_tests;
use crate::tree::{File, tree};

/// Names of types that say nothing outside their file.
const BARE: [&str; 2] = ["State", "Kind"];

const DEFINITIONS: [&str; 4] = ["struct", "enum", "type", "trait"];

/// The folder whose files are checked: programs in `tools/` have one set of options each.
const FOLDER: &str = "host/";

/// The data of a wasmtime store, which the whole engine uses: each function of the host gets it.
const STORE_STATE: &str = "host/src/engine/call/state.rs";

fn types_say_of_what(file: &File) -> Vec<Complaint> {
    if !file.path.starts_with(FOLDER) || file.extension() != "rs" || file.path == STORE_STATE {
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
