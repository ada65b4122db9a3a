//! Which key was meant.

use super::keys::Known;

/// From this likeness on (Jaro-Winkler, 0 to 1) a key may have been meant. The one that clap takes
/// for its suggestions.
const LIKENESS: f64 = 0.7;

/// What the same section counts for: a key there is meant rather than one with the same name
/// elsewhere, and rather than one that is a little more alike.
const SAME_SECTION: f64 = 0.15;

/// What flags have before the name of a limit, and the file doesn't.
const FLAG_PREFIX: &str = "max-";

/// Keys that other servers have, and what says the same here.
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
        "HTTPS is tls.cert and tls.key",
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

/// What to say of a key that other servers have, if it is one.
pub(super) fn synonym(key: &str) -> Option<&'static str> {
    let key = key.replace('_', "-");
    SYNONYMS
        .iter()
        .find(|(names, _)| names.contains(&&*key))
        .map(|(_, advice)| *advice)
}

/// The one of `known` that is nearest to `word`, if one is near.
pub(super) fn of<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|one| (likeness(one, word), one))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, one)| one)
}

/// The known key that is nearest to `section.key`, if one is near.
pub(super) fn key(section: &str, key: &str, known: &[Known]) -> Option<String> {
    let bonus = |one: &Known| {
        if one.section == section {
            SAME_SECTION
        } else {
            0.0
        }
    };
    known
        .iter()
        .map(|one| (likeness(one.key, key), one))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .map(|(likeness, one)| (likeness + bonus(one), one))
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, one)| format!("{}.{}", one.section, one.key))
}

/// How much a key is like what was written, which may be a flag's name.
fn likeness(key: &str, written: &str) -> f64 {
    let bare = written.strip_prefix(FLAG_PREFIX).unwrap_or(written);
    strsim::jaro_winkler(key, written).max(strsim::jaro_winkler(key, bare))
}

/// The known section that is nearest to `section`, if one is near; or the key of that name, which
/// lacks its section.
pub(super) fn section(section: &str, known: &[Known]) -> Option<String> {
    if known.iter().any(|one| one.key == section) {
        return key("", section, known);
    }
    known
        .iter()
        .map(|one| (strsim::jaro_winkler(one.section, section), one))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, one)| format!("[{}]", one.section))
        .or_else(|| key("", section, known))
}
