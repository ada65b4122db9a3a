//! Where `unsafe` is allowed, and where the lint against it may be disabled.

use crate::complaint::{Complaint, assert_none, assert_tidy, lines};
use crate::rust::code;
use crate::tree::{File, tree};

/// Files with unsafe code. Each explains it where it is used.
const WITH_UNSAFE_CODE: [&str; 9] = [
    // An interpreter and a library in C, in the sandbox.
    "guest-sdk/javascript/src/foreign.rs",
    // A module for CPython in the sandbox, whose C API covers objects, memory and thread state.
    "guest-sdk/python/native/src/hashes.rs",
    "guest-sdk/python/native/src/memory.rs",
    "guest-sdk/python/native/src/module.rs",
    "guest-sdk/python/native/src/python.rs",
    "guest-sdk/python/native/src/stack.rs",
    // Functions that replace libc's take pointers.
    "guest-sdk/rust/src/stdio.rs",
    // Loads compiled code.
    "host/src/engine/code_file.rs",
    // Limits the arenas of the C library's allocator.
    "host/src/heap.rs",
];

/// Files with generated code, for which the lint is disabled.
const WITH_GENERATED_CODE: [&str; 6] = [
    "guest-sdk/javascript/src/bindings.rs",
    "guest-sdk/javascript/src/exports.rs",
    "guest-sdk/rust/src/bindings.rs",
    "host/src/engine/worlds/gateway/bindings.rs",
    "host/src/engine/worlds/key_value/bindings.rs",
    "tests/guests/grants/key_value.rs",
];

/// `unsafe`, and attributes that permit it, appear only in the files above.
fn unsafe_is_where_it_is_known(file: &File) -> Vec<Complaint> {
    if file.extension() != "rs" || WITH_UNSAFE_CODE.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let generated = WITH_GENERATED_CODE.contains(&file.path.as_str());
    let code = code(&file.text);
    let forbidden = code.iter().filter(|token| match token.text {
        "unsafe" => true,
        "unsafe_code" => !generated && !forbids(&file.text, token.line),
        _ => false,
    });
    forbidden
        .map(|token| {
            Complaint::new(
                file,
                token.line,
                format!("`{}` is not for here", token.text),
            )
        })
        .collect()
}

/// An unsafe block or implementation has a comment right above it that says why it is sound.
fn unsafe_says_why_it_is_sound(file: &File) -> Vec<Complaint> {
    if file.extension() != "rs" {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().map(str::trim_start).collect();
    let is_sound = |line: usize| {
        let above = lines[..line - 1].iter().rev();
        let mut comment = above.take_while(|line| line.starts_with("//"));
        comment.any(|line| line.starts_with("// SAFETY: "))
    };
    let code = code(&file.text);
    let promises = code
        .windows(2)
        .filter(|pair| pair[0].text == "unsafe" && ["{", "impl"].contains(&pair[1].text));
    promises
        .filter(|pair| !is_sound(pair[0].line))
        .map(|pair| Complaint::new(file, pair[0].line, "no `// SAFETY:` right above it"))
        .collect()
}

/// Returns whether a line forbids or denies a lint.
fn forbids(text: &str, line: usize) -> bool {
    let line = text.lines().nth(line - 1).unwrap_or_default();
    line.contains("forbid(") || line.contains("deny(")
}

#[test]
fn unsafe_code_is_in_few_files() {
    assert_tidy(&[unsafe_is_where_it_is_known]);
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    assert_tidy(&[unsafe_says_why_it_is_sound]);
    let rule = unsafe_says_why_it_is_sound;
    let sound = "// SAFETY: it is.\n// Always.\nlet a = unsafe { g() };\n";
    assert!(lines(rule, "a.rs", sound).is_empty());
    assert_eq!(
        lines(rule, "a.rs", format!("{sound}unsafe {{ g() }}\n")),
        [4]
    );
    assert_eq!(lines(rule, "a.rs", "// why\nunsafe impl S for T {}"), [2]);
    assert!(lines(rule, "a.rs", "unsafe fn f() {}\nunsafe extern \"C\" {}").is_empty());
}

#[test]
fn every_file_with_leave_needs_it() {
    let tree = tree();
    let has = |path: &str, word: &str| {
        let file = tree.iter().find(|file| file.path == path);
        file.is_some_and(|file| code(&file.text).iter().any(|token| token.text == word))
    };
    let safe = WITH_UNSAFE_CODE.iter().filter(|path| !has(path, "unsafe"));
    let written = WITH_GENERATED_CODE
        .iter()
        .filter(|path| !has(path, "unsafe_code"));
    let stale = safe.chain(written).map(|path| Complaint {
        path: (*path).to_owned(),
        line: 1,
        what: "has leave for unsafe code, and none of it".to_owned(),
    });
    assert_none(&stale.collect::<Vec<_>>());
}

#[test]
fn unsafe_code_is_found() {
    let rule = unsafe_is_where_it_is_known;
    assert_eq!(
        lines(rule, "host/src/cli.rs", "fn f() {\n    unsafe { g() }\n}"),
        [2]
    );
    assert_eq!(lines(rule, "a.rs", "#![allow(unsafe_code)]"), [1]);
    assert_eq!(
        lines(
            rule,
            "host/src/engine/worlds/gateway/bindings.rs",
            "unsafe { g() }"
        ),
        [1]
    );
    assert!(
        lines(
            rule,
            "host/src/engine/worlds/gateway/bindings.rs",
            "#![allow(unsafe_code)]"
        )
        .is_empty()
    );
    assert!(lines(rule, "a.rs", "// unsafe\n#![forbid(unsafe_code)]").is_empty());
    assert!(lines(rule, "a.md", "unsafe").is_empty());
}
