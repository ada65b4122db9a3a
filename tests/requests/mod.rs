//! Requests as raw bytes (`valid/*.http`, `invalid/*.http`), each next to the server's expected
//! reaction (`*.txt`). This module is part of the unit tests of `wasgi-http1`.
//!
//! Every fixture is fed at once, byte by byte, split in two at every offset, and in random pieces;
//! the reaction must be the same each time. `WASGI_BLESS=1` rewrites the expected reactions: read
//! the diff before you commit it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use driver::{Driver, Numbers, limits};

pub(crate) mod driver;

/// A request that would be served if the server parsed anything after a rejected request.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

struct Fixture {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Fixture {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn expected(&self) -> String {
        let path = self.path.with_extension("txt");
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// Returns the fixtures of a folder, sorted by name.
fn fixtures(folder: &str) -> Vec<Fixture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/requests")
        .join(folder);
    let mut fixtures: Vec<Fixture> = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "http")
        })
        .map(|path| Fixture {
            bytes: fs::read(&path).expect("the fixture can be read"),
            path,
        })
        .collect();
    fixtures.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(fixtures.len() > 20, "the fixtures are missing");
    fixtures
}

fn report(parts: &[&[u8]]) -> String {
    Driver::fed(limits(), parts).report()
}

#[test]
fn every_fixture_is_answered_as_expected() {
    let bless = env::var_os("WASGI_BLESS").is_some();
    let mut wrong = Vec::new();
    for folder in ["valid", "invalid"] {
        for fixture in fixtures(folder) {
            let report = report(&[&fixture.bytes]);
            let is_taken = !report.contains("rejected") && !report.contains("failed");
            assert_eq!(is_taken, folder == "valid", "{}:\n{report}", fixture.name());
            assert!(
                is_taken || report.contains("\nclose: "),
                "{}:\n{report}",
                fixture.name()
            );
            assert!(
                !report.ends_with("waiting\n"),
                "{}:\n{report}",
                fixture.name()
            );
            if bless {
                fs::write(fixture.path.with_extension("txt"), &report).expect("it can be written");
            } else if fixture.expected() != report {
                let expected = fixture.expected();
                wrong.push(format!(
                    "{}\nexpected:\n{expected}got:\n{report}",
                    fixture.name()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fixture_is_answered_alike_however_it_is_split() {
    let mut numbers = Numbers::new(1);
    for folder in ["valid", "invalid"] {
        for fixture in fixtures(folder) {
            let expected = report(&[&fixture.bytes]);
            let single: Vec<&[u8]> = fixture.bytes.chunks(1).collect();
            assert_eq!(report(&single), expected, "{} byte by byte", fixture.name());
            for at in 1..fixture.bytes.len() {
                let (before, after) = fixture.bytes.split_at(at);
                assert_eq!(
                    report(&[before, after]),
                    expected,
                    "{} at {at}",
                    fixture.name()
                );
            }
            for _ in 0..20 {
                let parts = numbers.split(&fixture.bytes);
                assert_eq!(report(&parts), expected, "{} as {parts:?}", fixture.name());
            }
        }
    }
}

#[test]
fn nothing_is_parsed_after_a_request_that_cant_be_taken() {
    for fixture in fixtures("invalid") {
        let expected = report(&[&fixture.bytes]);
        let at_once = [&fixture.bytes[..], SMUGGLED].concat();
        assert_eq!(report(&[&at_once]), expected, "{}", fixture.name());
        assert_eq!(
            report(&[&fixture.bytes, SMUGGLED]),
            expected,
            "{}",
            fixture.name()
        );
    }
}

#[test]
fn every_prefix_of_a_valid_fixture_is_a_part_of_its_answer() {
    for fixture in fixtures("valid") {
        let whole = Driver::fed(limits(), &[&fixture.bytes]).transcript;
        for len in 0..fixture.bytes.len() {
            let part = Driver::fed(limits(), &[&fixture.bytes[..len]]).transcript;
            assert!(
                whole.starts_with(&part),
                "{} cut at {len}:\n{part}",
                fixture.name()
            );
        }
    }
}

#[test]
fn a_client_that_half_closes_gets_the_same_answers() {
    for folder in ["valid", "invalid"] {
        for fixture in fixtures(folder) {
            let mut driver = Driver::fed(limits(), &[&fixture.bytes]);
            let before = driver.transcript.clone();
            driver.end();
            assert!(driver.transcript.starts_with(&before), "{}", fixture.name());
            assert!(
                !driver.report().ends_with("waiting\n"),
                "{}",
                fixture.name()
            );
        }
    }
}
