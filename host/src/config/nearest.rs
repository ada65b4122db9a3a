//! Which key was meant.

use super::file::Known;

/// From this likeness on (Jaro-Winkler, 0 to 1) a key may have been meant. The one that clap takes
/// for its suggestions.
const LIKENESS: f64 = 0.7;

/// What the same section counts for: a key there is meant rather than one with the same name
/// elsewhere, and rather than one that is a little more alike.
const SAME_SECTION: f64 = 0.15;

/// What flags have before the name of a limit, and the file doesn't.
const FLAG_PREFIX: &str = "max-";

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
