//! Finds the key that a misspelled one was meant to be.

use super::{Config, Key, all_keys};
use crate::policy::Handlers;

/// The minimum similarity (Jaro-Winkler, 0 to 1) for a suggestion. The same threshold as in clap.
const LIKENESS: f64 = 0.7;

/// The bonus for a key of the same section: it is preferred to a key with the same name elsewhere,
/// and to one that is slightly more similar.
const SAME_SECTION: f64 = 0.15;

/// The prefix of flags for limits, which the file's keys lack.
const FLAG_PREFIX: &str = "max-";

/// Keys of other servers, each with its equivalent here.
const SYNONYMS: [(&[&str], &str); 8] = [
    (
        &["port", "listen-port", "http-port"],
        "the port is part of server.addr: addr = \"127.0.0.1:8000\"",
    ),
    (
        &["host", "bind", "listen", "address", "interface", "ip"],
        "the host is part of server.addr: addr = \"127.0.0.1:8000\"",
    ),
    (
        &["workers"],
        "server.processes says how many processes serve",
    ),
    (
        &[
            "ssl",
            "https",
            "certificate",
            "cert-file",
            "certfile",
            "key-file",
            "keyfile",
        ],
        "HTTPS is tls.cert and tls.key, or acme.names",
    ),
    (
        &["env", "environment", "variables", "environment-variables"],
        "handlers get no variables of the process",
    ),
    (
        &["timeout"],
        "a handler's time is budget.wall-time, a client's limits.request-timeout",
    ),
    (
        &["reload", "auto-reload", "watch", "debug"],
        "files are always reloaded when they change",
    ),
    (
        &["cors", "headers", "response-headers"],
        "[[pages.rules]] adds fields to pages; a handler sets its own",
    ),
];

/// Returns the advice for a key of another server.
pub(super) fn synonym(key: &str) -> Option<&'static str> {
    let key = key.replace('_', "-");
    SYNONYMS
        .iter()
        .find(|(names, _)| names.contains(&&*key))
        .map(|(_, advice)| *advice)
}

/// Returns the entry of `known` that is most similar to `word`, if any is similar enough.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|one| (likeness(one, word), one))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, one)| one)
}

/// Returns the names in `handlers` that are not in `known`, each with the most similar known name,
/// if any.
pub(crate) fn unknown_handlers<'h>(
    handlers: &'h Handlers,
    known: &'h [String],
) -> Vec<(&'h str, Option<&'h str>)> {
    let known = || known.iter().map(String::as_str);
    // One from a registry is known before it is loaded.
    let is_elsewhere = |name| handlers.get(name).is_some_and(|one| one.source.is_some());
    let unknown = handlers
        .names()
        .filter(|name| !known().any(|one| one == *name) && !is_elsewhere(name));
    unknown.map(|name| (name, nearest(name, known()))).collect()
}

/// Returns the key that is most similar to `section.key`, if any is similar enough.
pub(super) fn key(section: &str, key: &str) -> Option<String> {
    let bonus = |one: &Key<Config>| match one.section() == section {
        true => SAME_SECTION,
        false => 0.0,
    };
    all_keys()
        .map(|one| (likeness(bare(one), key), one))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .map(|(likeness, one)| (likeness + bonus(one), one))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, one)| one.name.to_owned())
}

/// Returns a key's name without its section.
fn bare(key: &Key<Config>) -> &'static str {
    key.name.split_once('.').map_or(key.name, |(_, bare)| bare)
}

/// Returns the similarity of a key to the input, which may be a flag's name.
fn likeness(key: &str, written: &str) -> f64 {
    let bare = written.strip_prefix(FLAG_PREFIX).unwrap_or(written);
    strsim::jaro_winkler(key, written).max(strsim::jaro_winkler(key, bare))
}

/// Returns the section that is most similar to `section`, if any is similar enough; or the key of
/// that name, with its section.
pub(super) fn section(section: &str) -> Option<String> {
    if all_keys().any(|one| bare(one) == section) {
        return key("", section);
    }
    let sections = all_keys().map(Key::section);
    match nearest(section, sections) {
        Some(nearest) => Some(format!("[{nearest}]")),
        None => key("", section),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_an_unknown_handler_is_reported_with_the_nearest_name() {
        let text = "[hello]\nreuse = 5\n[helo]\nreuse = 5\n[zzz]\nreuse = 1\n[\"*\"]\nreuse = 9\n";
        let handlers: Handlers = toml::from_str(text).expect("good");
        let known = ["hello".to_owned(), "users/[id]".to_owned()];
        assert_eq!(
            unknown_handlers(&handlers, &known),
            [("helo", Some("hello")), ("zzz", None)]
        );
    }
}
