//! Every item of the contract is documented and has a `@since`, and the SDKs' copies are identical.

use crate::complaint::{Complaint, assert_none, assert_tidy, lines};
use crate::tree::File;

/// Every item, and every field and case of one, has a doc comment.
fn items_are_documented(file: &File) -> Vec<Complaint> {
    // The doc of a package is in one of its files.
    let is_elsewhere = |item: &Item<'_>| {
        item.text.starts_with("package wasgi:gateway") && !file.path.ends_with("gateway.wit")
    };
    let undocumented = items(file)
        .into_iter()
        .filter(|item| !item.documented && !is_elsewhere(item));
    undocumented
        .map(|item| Complaint::new(file, item.line, format!("`{}` has no doc", item.text)))
        .collect()
}

/// Every item has a `@since`, which applies to its fields and cases.
fn items_are_dated(file: &File) -> Vec<Complaint> {
    // The drafts of a standard have no dates.
    if file.path.contains("/keyvalue/") {
        return Vec::new();
    }
    let undated = items(file).into_iter().filter(|item| {
        item.kind == Kind::Item && !item.dated && !item.text.starts_with("package ")
    });
    undated
        .map(|item| Complaint::new(file, item.line, format!("`{}` has no @since", item.text)))
        .collect()
}

/// A published package contains a copy of the contract, which must be identical.
fn copies_are_the_same(tree: &[File]) -> Vec<Complaint> {
    let originals: Vec<_> = tree
        .iter()
        .filter(|file| file.path.starts_with("wit/"))
        .collect();
    let mut complaints = Vec::new();
    for copy in tree.iter().filter(|file| file.path.contains("/wit/")) {
        let name = copy.path.rsplit('/').next();
        let original = originals
            .iter()
            .find(|file| file.path.rsplit('/').next() == name);
        if original.is_some_and(|original| original.text != copy.text) {
            complaints.push(Complaint::new(copy, 1, "differs from the contract in wit/"));
        }
    }
    complaints
}

#[derive(Debug)]
struct Item<'a> {
    kind: Kind,
    text: &'a str,
    line: usize,
    documented: bool,
    dated: bool,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// An interface, a type, a function or a world.
    Item,
    /// A field of a record, or a case of a variant, an enum or flags.
    Part,
}

/// Returns the items of one of our WIT files, parsed line by line: each item starts a line.
fn items(file: &File) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    if file.extension() != "wit" || file.path.contains("/deps/") {
        return items;
    }
    let (mut documented, mut dated) = (false, false);
    // The nesting of a function's parameters, and whether we are in a type with parts.
    let (mut parentheses, mut in_parts) = (0_usize, false);
    for (index, line) in file.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("///") {
            documented = true;
            continue;
        }
        if line.starts_with("@") {
            dated |= line.starts_with("@since");
            continue;
        }
        let code = line.split("//").next().unwrap_or_default().trim();
        let kind = if in_parts { Kind::Part } else { Kind::Item };
        if parentheses == 0 && is_declaration(code) {
            items.push(Item {
                kind,
                text: code,
                line: index + 1,
                documented,
                dated,
            });
        }
        parentheses += code.matches('(').count();
        parentheses = parentheses.saturating_sub(code.matches(')').count());
        in_parts = (in_parts || begins_parts(code)) && !code.starts_with('}');
        (documented, dated) = (false, false);
    }
    items
}

/// Returns whether a line of code declares an item. An import, an export and a `use` refer to an
/// item that is declared elsewhere.
fn is_declaration(code: &str) -> bool {
    let first = code.split([' ', '{']).next().unwrap_or_default();
    code.starts_with(|c: char| c.is_ascii_alphabetic() || c == '%')
        && !matches!(first, "use" | "import" | "export" | "include")
}

fn begins_parts(code: &str) -> bool {
    ["record ", "variant ", "enum ", "flags "]
        .iter()
        .any(|word| code.starts_with(word))
        && code.ends_with('{')
}

#[test]
fn the_contract_is_documented() {
    assert_tidy(&[items_are_documented, items_are_dated]);
}

#[test]
fn the_contract_is_one() {
    assert_none(&copies_are_the_same(&crate::tree::tree()));
}

#[test]
fn a_copy_that_differs_is_found() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let tree = [
        file("wit/a.wit", "one"),
        file("guest-sdk/x/wit/a.wit", "one"),
        file("guest-sdk/y/wit/a.wit", "two"),
        file("guest-sdk/y/wit/b.wit", "its own"),
    ];
    let complaints = copies_are_the_same(&tree);
    let paths: Vec<_> = complaints
        .iter()
        .map(|complaint| complaint.path.as_str())
        .collect();
    assert_eq!(paths, ["guest-sdk/y/wit/a.wit"]);
}

#[test]
fn all_of_the_contract_is_read() {
    let tree = crate::tree::tree();
    let file = tree
        .iter()
        .find(|file| file.path == "wit/gateway.wit")
        .expect("it is there");
    let names: Vec<_> = items(file).into_iter().map(|item| item.text).collect();
    for begin in [
        "package wasgi:gateway@",
        "resource environ ",
        "read: func(",
        "timed-out,",
    ] {
        assert!(
            names.iter().any(|name| name.starts_with(begin)),
            "{begin} is not read: {names:?}"
        );
    }
    assert!(
        !names.iter().any(|name| name.starts_with("headers: ")),
        "a parameter is no item"
    );
}

#[test]
fn what_lacks_a_doc_is_found() {
    let text = "/// Doc.\npackage a:b;\n\n/// Doc.\n@since(version = 0.1.0)\ninterface c {\n  \
                type d = u8;\n  /// Doc.\n  enum e {\n    f,\n    /// Doc.\n    g,\n  }\n  \
                h: func(\n    i: u8,\n  ) -> u8;\n  // No doc.\n  j: func();\n}\n";
    assert_eq!(
        lines(items_are_documented, "wit/a.wit", text),
        [7, 10, 14, 18]
    );
    assert_eq!(lines(items_are_dated, "wit/a.wit", text), [7, 9, 14, 18]);
    assert!(lines(items_are_documented, "wit/deps/a/b.wit", text).is_empty());
    assert!(lines(items_are_documented, "a.rs", text).is_empty());
}
