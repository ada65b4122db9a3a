//! Bundles that are incomplete, damaged or made by an attacker are refused with one line.

use std::fs;

use crate::support::bundle::Bundle;
use crate::support::site::Site;

fn site() -> Site {
    Site::new()
        .with_page("index.html", "a page")
        .with_page("other.html", "another page")
        .with_page_handler("hello", "hello")
}

/// Creates a bundle of files with these names and contents, whatever they are.
fn forged(files: &[(&str, &str)]) -> Vec<u8> {
    let mut index = String::new();
    for (name, content) in files {
        let hash = blake3::hash(content.as_bytes()).to_hex();
        index += &format!("{hash} {} {name}\n", content.len());
    }
    let contents: String = files.iter().map(|(_, content)| *content).collect();
    with_index(&index, &contents)
}

fn with_index(index: &str, content: &str) -> Vec<u8> {
    let hash = blake3::hash(index.as_bytes()).to_hex();
    let head = format!(
        "wasgi bundle 1\n{hash} {:012}\n{index}{content}",
        index.len()
    );
    head.into_bytes()
}

#[test]
fn an_incomplete_bundle_is_refused() {
    let bundle = Bundle::from_site(&site());
    let whole = bundle.bytes();
    for length in [15, 16, 50, 93, 94, 200, whole.len() / 2, whole.len() - 1] {
        bundle.replace(&whole[..length]);
        let line = bundle.refusal(&[]);
        assert!(
            line.contains("site.wasgi: is incomplete"),
            "{length}: {line}"
        );
    }
    bundle.replace(&[&whole[..], b"x"].concat());
    let line = bundle.refusal(&[]);
    assert!(line.contains("longer than its index says"), "{line}");
    assert!(bundle.unpacked().is_empty());
}

#[test]
fn a_damaged_bundle_is_refused_and_nothing_of_it_is_left() {
    let bundle = Bundle::from_site(&site());
    let whole = bundle.bytes();
    for (at, said) in [
        (20, "its index has another hash"),
        (95, "its index has another hash"),
        (whole.len() - 1, "has another hash than the index says"),
    ] {
        let mut damaged = whole.clone();
        damaged[at] = if damaged[at] == b'0' { b'1' } else { b'0' };
        bundle.replace(&damaged);
        let line = bundle.refusal(&[]);
        assert!(
            line.contains("is damaged") && line.contains(said),
            "{at}: {line}"
        );
        let checked = bundle.run(&["bundle", "--check", bundle.text()]);
        assert!(checked.refusal().contains(said), "{}", checked.refusal());
        assert!(bundle.unpacked().is_empty());
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_before_anything_is_written() {
    let bundle = Bundle::from_site(&site());
    let long = format!("html/{}", "a".repeat(256));
    for name in [
        "../evil",
        "html/../../evil",
        "/tmp/evil",
        "html//evil",
        "html/./evil",
        "evil",
        "html/",
        "wasgi.toml/evil",
        "html/\u{1b}[2J",
        &long,
    ] {
        bundle.replace(&forged(&[(name, "evil")]));
        let line = bundle.refusal(&[]);
        assert!(line.contains("the name"), "{name:?}: {line}");
        assert!(!line.contains('\u{1b}'));
        assert!(bundle.unpacked().is_empty(), "{name}");
    }
    for files in [
        &[("html/a", "1"), ("html/a", "2")][..],
        &[("html/b", "1"), ("html/a", "2")],
        &[("html/a", "1"), ("html/a/b", "2")],
        &[("html/a", "1"), ("html/a-b", "2"), ("html/a/b", "3")],
    ] {
        bundle.replace(&forged(files));
        let line = bundle.refusal(&[]);
        assert!(
            line.contains("twice") || line.contains("both a file"),
            "{line}"
        );
    }
    assert!(bundle.unpacked().is_empty());
}

#[test]
fn lengths_are_checked_before_they_are_believed() {
    let bundle = Bundle::from_site(&site());
    let hash = blake3::hash(b"").to_hex();
    for length in ["1099511627776", "18446744073709551615"] {
        let index = format!("{hash} {length} html/a\n");
        bundle.replace(&with_index(&index, "x"));
        let line = bundle.refusal(&[]);
        assert!(line.contains("is incomplete"), "{line}");
        let twice = format!("{index}{hash} {length} html/b\n");
        bundle.replace(&with_index(&twice, "x"));
        let line = bundle.refusal(&[]);
        let is_said = line.contains("is incomplete") || line.contains("too long");
        assert!(is_said, "{line}");
    }
    let long = format!("wasgi bundle 1\n{hash} 999999999999\n");
    bundle.replace(long.as_bytes());
    assert!(bundle.refusal(&[]).contains("longer than 256 MiB"));
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_its_line() {
    let bundle = Bundle::from_site(&site());
    for (text, said) in [
        (
            "\n[server]\nporrt = 1\n",
            "site.wasgi/wasgi.toml:3: server.porrt",
        ),
        (
            "[limits]\nrequest-line = \"1B\"\n",
            "site.wasgi/wasgi.toml:2: limits.request-line",
        ),
        (
            "[bundle]\npublic-key = \"\"\n",
            "belongs into the operator's file",
        ),
    ] {
        bundle.replace(&forged(&[("html/a", "x"), ("wasgi.toml", text)]));
        let line = bundle.refusal(&[]);
        assert!(line.contains(said), "{line}");
    }
    fs::remove_dir_all(bundle.cache()).expect("it is there");
}
