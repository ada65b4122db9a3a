//! Text from outside (a client, a guest, a file's name) made fit for a log line or a terminal: it
//! can't move a cursor, ring a bell, pass for another line, or show its characters in another order
//! than they are in. Whatever is escaped here can be told from text that only looks like it, as a
//! backslash is escaped as well.
//!
//! | function | for |
//! |---|---|
//! | [`one_line`], [`line_of_bytes`] | text that ends a line |
//! | [`quoted`] | text between double quotes |
//! | [`indented`] | text of several lines, such as a traceback |
//! | [`block`] | a whole message, some of which was escaped by one of the above |
//! | [`json`] | the text of a JSON document |

use std::fmt::{self, Write};

/// What each line of a block but the first begins with.
const INDENT: &str = "\n    ";

/// Whether a character must not reach a log or a terminal as it is: control characters (C0, DEL and
/// C1), and those of Unicode that are not seen, end a line, or change the order of what is shown
/// (UAX #9, explicit directional formatting; UAX #14, mandatory breaks).
fn is_hidden(character: char) -> bool {
    match character {
        // Most of what is logged.
        ' '..='~' => false,
        '\0'..='\u{9f}' => true,
        // Soft hyphen; Arabic letter mark; Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        // Zero-width characters and marks of direction; line and paragraph separators, embeddings
        // and overrides; invisible operators, isolates and deprecated format characters.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        // The byte order mark; interlinear annotations; tags.
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Whether bytes are ASCII that can be shown and needs no escape anywhere: no quote, no backslash,
/// no space.
fn is_plain(bytes: &[u8]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    // Without a branch for each byte.
    bytes.iter().fold(true, |all, &byte| all & is_plain(byte))
}

fn escape(to: &mut impl Write, character: char) -> fmt::Result {
    match character {
        // `escape_default` would escape every character beyond ASCII, and both quotes.
        '\t' => to.write_str("\\t"),
        '\r' => to.write_str("\\r"),
        '\n' => to.write_str("\\n"),
        '\\' => to.write_str("\\\\"),
        '"' => to.write_str("\\\""),
        other => write!(to, "{}", other.escape_unicode()),
    }
}

/// Writes `text`, with what is hidden and what `also` takes by their escapes.
fn write_escaped(
    to: &mut impl Write,
    text: &str,
    also: impl Fn(char) -> bool,
) -> Result<(), fmt::Error> {
    let mut shown = 0;
    for (at, character) in text.char_indices() {
        if is_hidden(character) || also(character) {
            to.write_str(&text[shown..at])?;
            escape(to, character)?;
            shown = at + character.len_utf8();
        }
    }
    to.write_str(&text[shown..])
}

/// Shows `text` in one line: hidden characters, line ends included, and backslashes by their
/// escapes. A tab stays.
pub fn one_line(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| write_line(f, text))
}

fn write_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut parts = text.split('\t');
    write_escaped(f, parts.next().unwrap_or_default(), |c| c == '\\')?;
    parts.try_for_each(|part| {
        f.write_char('\t')?;
        write_escaped(f, part, |c| c == '\\')
    })
}

/// Shows bytes in one line as [`one_line`] shows text, and each byte that is not part of valid
/// UTF-8 as `\xNN`.
pub fn line_of_bytes(bytes: &[u8]) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for chunk in bytes.utf8_chunks() {
            write_line(f, chunk.valid())?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    })
}

/// Shows `text` as what stands between two double quotes: as [`one_line`], and tabs and double
/// quotes are escaped.
pub fn quoted(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| write_escaped(f, text, |c| matches!(c, '\\' | '"')))
}

/// Appends to a line what [`quoted`] shows of `text`.
pub fn push_quoted(line: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        line.push_str(text);
    } else {
        // A string takes all that is written.
        let _ = write_escaped(line, text, |c| matches!(c, '\\' | '"'));
    }
}

/// Appends a field of a line whose fields are separated by spaces: as [`quoted`], and spaces are
/// escaped.
pub fn push_word(line: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        line.push_str(text);
    } else {
        let is_special = |c: char| matches!(c, '\\' | '"') || c.is_whitespace();
        // A string takes all that is written.
        let _ = write_escaped(line, text, is_special);
    }
}

/// Shows `text` line by line, each as [`one_line`] shows it; each but the first begins on a line of
/// its own, indented.
pub fn indented(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for (index, line) in text.lines().enumerate() {
            if index > 0 {
                f.write_str(INDENT)?;
            }
            write_line(f, line)?;
        }
        Ok(())
    })
}

/// Shows a whole message, some of which may have been escaped already: hidden characters by their
/// escapes, and each line but the first indented, so that none passes for a message of its own. A
/// backslash stays, as it may be part of an escape.
pub fn block(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        let mut lines = text.split('\n');
        let first = lines.next().unwrap_or_default();
        write_escaped(f, first, |_| false)?;
        lines.try_for_each(|line| {
            if line.is_empty() {
                return Ok(());
            }
            f.write_str(if line.starts_with("    ") {
                "\n"
            } else {
                INDENT
            })?;
            write_escaped(f, line, |_| false)
        })
    })
}

/// Shows a report of several lines, the parts of which were escaped: what is still hidden by its
/// escape. Line ends stay.
pub fn report(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        text.split_inclusive('\n').try_for_each(|line| {
            let (line, end) = match line.strip_suffix('\n') {
                Some(line) => (line, "\n"),
                None => (line, ""),
            };
            write_escaped(f, line, |_| false)?;
            f.write_str(end)
        })
    })
}

/// Shows a JSON document, with what is hidden in its strings as `\uNNNN`: the same document.
pub fn json(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for character in text.chars() {
            if character != '\n' && is_hidden(character) {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    write!(f, "\\u{unit:04x}")?;
                }
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    })
}

/// The front of `text`, `bytes` long at most, cut between characters.
pub fn front(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind that must not be seen as it is.
    const HIDDEN: &str = "\0\x07\x1b\r\n\x7f\u{85}\u{91}\u{9b}\u{ad}\u{61c}\u{180e}\u{200b}\u{200d}\
                          \u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\
                          \u{feff}\u{fff9}\u{e0041}";

    #[test]
    fn nothing_escapes_its_line() {
        assert_eq!(
            one_line("a\x1b[2Jb\r\nc\td").to_string(),
            "a\\u{1b}[2Jb\\r\\nc\td"
        );
        assert_eq!(indented("a\nb\x07\n").to_string(), "a\n    b\\u{7}");
    }

    #[test]
    fn no_function_lets_a_hidden_character_through() {
        let text = format!("é{HIDDEN}ß");
        let mut appended = String::new();
        push_quoted(&mut appended, &text);
        push_word(&mut appended, &text);
        for shown in [
            one_line(&text).to_string(),
            line_of_bytes(text.as_bytes()).to_string(),
            quoted(&text).to_string(),
            appended,
        ] {
            assert!(!shown.contains(is_hidden), "{shown}");
            assert!(shown.contains('é') && shown.contains('ß'), "{shown}");
        }
        for shown in [
            indented(&text).to_string(),
            block(&text).to_string(),
            report(&text).to_string(),
            json(&text).to_string(),
        ] {
            let is_wrong = |c| c != '\n' && is_hidden(c);
            assert!(!shown.contains(is_wrong), "{shown}");
        }
    }

    #[test]
    fn an_escape_can_be_told_from_text_that_looks_like_one() {
        assert_eq!(one_line("\\u{1b}\x1b").to_string(), "\\\\u{1b}\\u{1b}");
        assert_eq!(
            line_of_bytes(b"\\xff\xff\xc3").to_string(),
            "\\\\xff\\xff\\xc3"
        );
        assert_eq!(quoted("a\"\\\t").to_string(), "a\\\"\\\\\\t");
    }

    #[test]
    fn a_field_is_one_word() {
        let mut line = String::new();
        push_word(&mut line, "my shop\u{3000}\"x\"");
        line.push(' ');
        push_word(&mut line, "users/[id]");
        assert_eq!(line, "my\\u{20}shop\\u{3000}\\\"x\\\" users/[id]");
    }

    #[test]
    fn each_line_of_a_block_is_seen_to_belong_to_it() {
        let text = "a: \\u{1b}\nERROR b\n    c\x1b\n";
        assert_eq!(
            block(text).to_string(),
            "a: \\u{1b}\n    ERROR b\n    c\\u{1b}"
        );
    }

    #[test]
    fn a_json_document_stays_the_same() {
        let value = serde_json::json!({ HIDDEN: [HIDDEN, "é"] });
        let shown = json(&format!("{value:#}\n")).to_string();
        assert!(!shown.contains(|c| c != '\n' && is_hidden(c)), "{shown}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"),
            value
        );
    }

    #[test]
    fn the_front_ends_between_characters() {
        assert_eq!(front("äöü", 3), "ä");
        assert_eq!(front("abc", 10), "abc");
    }
}
