//! Compares the tables of `docs/configuration.md` with the keys. With `UPDATE_DOCS` set, writes
//! them.

mod host_keys;

use std::path::Path;

use self::host_keys::HOST_KEYS;
use super::*;
use crate::config::hosts::HostOptions;
use crate::config::key::Unit;
use crate::config::keys::keys;
use crate::config::site::Site;

/// The document.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

/// The beginning of a key's row.
const ROW: &str = "| `";

/// Returns the row of a key.
fn row<T>(key: &Key<T>, default: Option<&toml::Value>) -> String {
    let name = key.name;
    let default = match (default, key.unset) {
        (Some(value), None) => format!("`{value}`"),
        (None, Some(unset)) => unset.to_owned(),
        _ => panic!("{name}: either it has a default, or it is said what holds without"),
    };
    let live = if key.is_live { "yes" } else { "no" };
    let doc = match key.bounds {
        Some(bounds) => {
            let [min, max] = [bounds.min, bounds.max].map(|number| shown(bounds.unit, number));
            key.doc.replace("{bounds}", &format!("{min} to {max}"))
        }
        None => key.doc.to_owned(),
    };
    assert!(!doc.is_empty() && !doc.contains('{'), "{name}: {doc}");
    format!("| `{name}` | {default} | {live} | {doc} |")
}

/// Formats a number for readers: `1,024 GiB`.
fn shown(unit: Unit, number: u64) -> String {
    let text = unit.show(number);
    let end = text.find(|one: char| !one.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let groups = number.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    format!("{} {unit}", groups.join(",")).trim_end().to_owned()
}

/// Returns all rows, by the section that they belong to. A handler's keys have none.
fn rows() -> Vec<(&'static str, String)> {
    let mut config = resolved("", |_| {}).expect("the defaults").config;
    config.site = Site::default();
    config.state = Default::default();
    config.acme = Default::default();
    let values = values(&config);
    let rows = all_keys().map(|key| (key.section(), row(key, values.get(key.name))));
    let own = HANDLER_KEYS.iter().map(|key| ("", row(key, None)));
    let of_host = HOST_KEYS.iter().map(|key| (key.section(), row(key, None)));
    rows.chain(own).chain(of_host).collect()
}

/// Returns the section of a row of the document.
fn section(line: &str) -> &str {
    let name = line.strip_prefix(ROW).and_then(|row| row.split('`').next());
    let name = name.unwrap_or_default();
    name.split_once('.').map_or("", |(section, _)| section)
}

/// Returns the document with each table replaced by the rows of the sections that it has.
fn with_tables(document: &str, rows: &[(&str, String)]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for block in document
        .split_inclusive('\n')
        .collect::<Vec<_>>()
        .chunk_by(|one, other| one.starts_with(ROW) == other.starts_with(ROW))
    {
        if !block[0].starts_with(ROW) {
            lines.extend(block.iter().map(|line| (*line).to_owned()));
            continue;
        }
        let sections: Vec<&str> = block.iter().map(|line| section(line)).collect();
        let of_table = rows
            .iter()
            .filter(|(section, _)| sections.contains(section));
        lines.extend(of_table.map(|(_, row)| format!("{row}\n")));
    }
    lines.concat()
}

#[test]
fn the_document_has_every_key_as_the_table_has_it() {
    let document = std::fs::read_to_string(DOCUMENT).expect("it is there");
    let rows = rows();
    let expected = with_tables(&document, &rows);
    for (_, row) in &rows {
        let count = expected.lines().filter(|line| line == row).count();
        assert_eq!(count, 1, "no table, or two, for the section of {row}");
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(Path::new(DOCUMENT), &expected).expect("written");
        return;
    }
    for (line, expected) in document.lines().zip(expected.lines()) {
        assert_eq!(
            line, expected,
            "UPDATE_DOCS=1 cargo test -p wasgi --lib config writes it"
        );
    }
    assert_eq!(
        document, expected,
        "UPDATE_DOCS=1 cargo test -p wasgi --lib config writes it"
    );
}

#[test]
fn every_key_of_a_host_is_documented() {
    let documented = HOST_KEYS
        .iter()
        .filter_map(|key| key.name.rsplit('.').next());
    let documented: Vec<&str> = documented.collect();
    assert_eq!(documented, keys::<HostOptions>());
}

#[test]
fn a_table_of_the_document_gets_missing_rows_and_loses_others() {
    let rows = [
        ("a", "| `a.b` | 1 |".to_owned()),
        ("a", "| `a.c` | 2 |".to_owned()),
    ];
    let document = "text\n\n| key |\n|---|\n| `a.c` | 3 |\n| `a.d` | 4 |\n\nmore\n";
    let expected = "text\n\n| key |\n|---|\n| `a.b` | 1 |\n| `a.c` | 2 |\n\nmore\n";
    assert_eq!(with_tables(document, &rows), expected);
}
