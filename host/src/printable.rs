//! Escapes text from outside (a client, a guest, a file's name) for a log line or a terminal, so
//! that it can't move the cursor, ring the bell, forge another line, or display its characters in
//! another order. Escapes are unambiguous, since backslashes are escaped as well.
//!
//! | function | for |
//! |---|---|
//! | [`one_line`], [`line_of_bytes`] | text that ends a line |
//! | [`quoted`] | text between double quotes |
//! | [`indented`] | text of several lines, such as a traceback |
//! | [`block`] | a whole message, part of which was escaped by one of the above |
//! | [`json`] | the text of a JSON document |
//! | [`push_apache`] | a part of a line of Apache's log formats |
//! | [`push_json`] | a string in a JSON document |

use std::fmt::{self, Write};

/// The start of each line of a block but the first.
const INDENT: &str = "\n    ";

/// Reports whether a character must be escaped in a log or a terminal: control characters (C0, DEL
/// and C1), and Unicode characters that are invisible, end a line, or change the display order (UAX
/// #9, explicit directional formatting; UAX #14, mandatory breaks).
fn is_hidden(character: char) -> bool {
    match character {
        // The most frequent characters first.
        ' '..='~' => false,
        '\0'..='\u{9f}' => true,
        // Soft hyphen; Arabic letter mark; Mongolian vowel separator.
        '\u{ad}' | '\u{61c}' | '\u{180e}' => true,
        // Zero-width characters and directional marks; line and paragraph separators, embeddings
        // and overrides; invisible operators, isolates and deprecated format characters.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        // The byte order mark; interlinear annotations; tags.
        '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}' => true,
        _ => false,
    }
}

/// Reports whether all bytes are printable ASCII that needs no escape in any context: no quote, no
/// backslash, no space.
fn is_plain(bytes: &[u8]) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    // A fold avoids a branch for each byte.
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

/// Writes `text`, escaping hidden characters and those for which `also` returns true.
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

/// Formats `text` on one line: hidden characters, including line ends, and backslashes are escaped.
/// Tabs are kept.
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

/// Formats bytes on one line as [`one_line`] formats text, with each byte that is not valid UTF-8
/// as `\xNN`.
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

/// Formats `text` for use between double quotes: like [`one_line`], but tabs and double quotes are
/// escaped as well.
pub fn quoted(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| write_escaped(f, text, |c| matches!(c, '\\' | '"')))
}

/// Appends `text` to a line, formatted as by [`quoted`].
pub fn push_quoted(line: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        line.push_str(text);
    } else {
        // Writing to a string never fails.
        let _ = write_escaped(line, text, |c| matches!(c, '\\' | '"'));
    }
}

/// Appends a field to a line of fields separated by spaces: formatted as by [`quoted`], with spaces
/// escaped as well.
pub fn push_word(line: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        line.push_str(text);
    } else {
        let is_special = |c: char| matches!(c, '\\' | '"') || c.is_whitespace();
        // Writing to a string never fails.
        let _ = write_escaped(line, text, is_special);
    }
}

/// Formats `text` line by line, each as by [`one_line`]; each line but the first is indented.
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

/// Formats a whole message, part of which may already be escaped: hidden characters are escaped,
/// and each line but the first is indented, so that it can't be mistaken for a separate message.
/// Backslashes are kept, since they may be part of an escape.
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

/// Formats a report of several lines, whose parts are already escaped: remaining hidden characters
/// are escaped. Line ends are kept.
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

/// Formats a JSON document with the hidden characters in its strings as `\uNNNN`, which is an
/// equivalent document.
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

/// Appends `text` to a JSON document as a string, with quotes. Hidden characters are escaped as
/// `\uNNNN`.
pub fn push_json(document: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        document.push('"');
        document.push_str(text);
        document.push('"');
        return;
    }
    // Serializing text to memory doesn't fail.
    let quoted = serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned());
    // Writing to a string never fails.
    let _ = write!(document, "{}", json(&quoted));
}

/// Appends bytes to a line of Apache's log formats, as its `ap_escape_logitem` does: quotes and
/// backslashes are escaped, and all bytes but printable ASCII.
pub fn push_apache(line: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'"' | b'\\' => {
                line.push('\\');
                line.push(char::from(byte));
            }
            b' '..=b'~' => line.push(char::from(byte)),
            0x08 => line.push_str("\\b"),
            b'\t' => line.push_str("\\t"),
            b'\n' => line.push_str("\\n"),
            0x0b => line.push_str("\\v"),
            b'\r' => line.push_str("\\r"),
            _ => {
                // Writing to a string never fails.
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

/// Returns the start of `text`, at most `bytes` long, cut at a character boundary.
pub fn front(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character of each kind that must be escaped.
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
    fn each_line_of_a_block_but_the_first_is_indented() {
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
