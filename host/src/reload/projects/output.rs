//! A compiler's output, for a terminal or a log.

use std::fmt::Write;

/// The start of an escape sequence that sets colours (ECMA-48, SGR).
const CSI: &str = "\x1b[";

/// Returns `text` with colours, but without any other control sequence: a compiler quotes the
/// source, which may contain some.
pub(crate) fn coloured(text: &str) -> String {
    filtered(text, true)
}

/// Returns `text` without colours and other control sequences.
pub(crate) fn plain(text: &str) -> String {
    filtered(text, false)
}

fn filtered(text: &str, keeps_colours: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(length) = colour_bytes(rest) {
            if keeps_colours {
                clean.push_str(&rest[..length]);
            }
            rest = &rest[length..];
            continue;
        }
        rest = &rest[character.len_utf8()..];
        match character {
            '\n' | '\t' => clean.push(character),
            // A line end of other systems, or progress that overwrites its line.
            '\r' => {}
            control if control.is_control() => {
                // Writing to a string never fails.
                let _ = write!(clean, "{}", control.escape_unicode());
            }
            other => clean.push(other),
        }
    }
    clean
}

/// Returns the length of the colour sequence at the start of `text`, in bytes.
fn colour_bytes(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix(CSI)?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && !matches!(c, ';' | ':'))?;
    parameters[end..]
        .starts_with('m')
        .then_some(CSI.len() + end + 1)
}

/// Returns the first error of a compiler's output in one line, with its place: `error[E0308]:
/// mismatched types (src/lib.rs:9:5)`.
pub(super) fn first_error(text: &str) -> Option<String> {
    let text = plain(text);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_error = |line: &&str| line.starts_with("error") || line.contains(": error: ");
    let at = lines.iter().position(is_error).or_else(|| {
        // Go and make have no word for it; what begins with `#` is a heading of Go.
        let says = |line: &&str| !line.is_empty() && !line.starts_with('#');
        lines.iter().position(says)
    })?;
    let place = lines
        .get(at + 1)
        .and_then(|next| next.strip_prefix("--> "))
        .map_or(String::new(), |place| format!(" ({place})"));
    Some(format!("{}{place}", lines[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_reach_a_terminal() {
        let text = "\x1b[1;31merror\x1b[0m: \x1b[2J\x07\x1b]0;title\x07 \u{9b}x\r\n\ttab";
        assert_eq!(
            coloured(text),
            "\x1b[1;31merror\x1b[0m: \\u{1b}[2J\\u{7}\\u{1b}]0;title\\u{7} \\u{9b}x\n\ttab"
        );
        assert_eq!(
            plain(text),
            "error: \\u{1b}[2J\\u{7}\\u{1b}]0;title\\u{7} \\u{9b}x\n\ttab"
        );
        assert_eq!(plain("\x1b[1;"), "\\u{1b}[1;");
    }

    #[test]
    fn the_first_error_is_found_in_each_compilers_words() {
        for (text, told) in [
            (
                "   Compiling x\n\x1b[31merror[E0308]\x1b[0m: mismatched\n  --> src/lib.rs:9:5\n",
                "error[E0308]: mismatched (src/lib.rs:9:5)",
            ),
            (
                "warning: x\nerror: could not compile",
                "error: could not compile",
            ),
            (
                "a.c:3:1: error: expected ';'\nint\n",
                "a.c:3:1: error: expected ';'",
            ),
            (
                "# greet\n./main.go:7:2: undefined: x\n",
                "./main.go:7:2: undefined: x",
            ),
            (
                "make: *** No targets.  Stop.",
                "make: *** No targets.  Stop.",
            ),
        ] {
            assert_eq!(first_error(text).as_deref(), Some(told));
        }
        assert_eq!(first_error("\n \n"), None);
    }
}
