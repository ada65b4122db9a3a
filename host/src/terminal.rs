//! Colours in a terminal: the only place that decides whether an output has them.

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;

/// A style of text: the parameters of a sequence that sets it (ECMA-48, SGR).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Style(&'static str);

impl Style {
    pub(crate) const DIM: Self = Self("2");
    pub(crate) const RED: Self = Self("31");
    pub(crate) const GREEN: Self = Self("32");
    pub(crate) const YELLOW: Self = Self("33");
    pub(crate) const BLUE: Self = Self("34");
    pub(crate) const MAGENTA: Self = Self("35");
    pub(crate) const TITLE: Self = Self("1;35");
    pub(crate) const LINK: Self = Self("1;4");
}

/// Returns whether an output shows colours: it is a terminal that can, and `NO_COLOR` is unset or
/// empty (no-color.org).
pub(crate) fn has_colours(output: &impl IsTerminal) -> bool {
    let [off, term] = ["NO_COLOR", "TERM"].map(env::var_os);
    output.is_terminal() && allows_colours(off.as_deref(), term.as_deref())
}

/// Returns whether the user wants colours, by the values of `NO_COLOR` and `TERM`.
fn allows_colours(off: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    off.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

/// Returns a text in a style.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("\x1b[{}m{text}\x1b[0m", style.0)
}

/// Returns a report in which the first word of a line has a style, if it is one of `words`.
pub(crate) fn paint_words(report: &str, words: &[(&str, Style)]) -> String {
    let painted = report.split_inclusive('\n').map(|line| {
        let text = line.trim_start();
        let word = text.split_whitespace().next().unwrap_or_default();
        let known = words.iter().find(|(known, _)| *known == word);
        let parts = known.and_then(|found| Some((found, text.strip_prefix(word)?)));
        match parts {
            None => line.to_owned(),
            Some(((_, style), rest)) => {
                let indent = " ".repeat(line.len() - text.len());
                format!("{indent}{}{rest}", paint(*style, word))
            }
        }
    });
    painted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_color_and_a_dumb_terminal_have_no_colours() {
        for (off, term, expected) in [
            (None, Some("xterm"), true),
            (Some(""), None, true),
            (Some("1"), Some("xterm"), false),
            (Some("0"), None, false),
            (None, Some("dumb"), false),
        ] {
            let [off, term] = [off, term].map(|value| value.map(OsStr::new));
            assert_eq!(allows_colours(off, term), expected, "{off:?} {term:?}");
        }
    }

    #[test]
    fn the_first_words_of_lines_are_painted() {
        let words = [("ok", Style::GREEN), ("problem", Style::RED)];
        let report = "site\n  ok  a ok\nproblem\n  okay\n\n";
        let painted = "site\n  \x1b[32mok\x1b[0m  a ok\n\x1b[31mproblem\x1b[0m\n  okay\n\n";
        assert_eq!(paint_words(report, &words), painted);
        assert_eq!(paint_words(report, &[]), report);
    }
}
