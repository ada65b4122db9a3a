//! Text from outside (a client, a guest) made fit for a log: it can't move a cursor, ring a bell or
//! pass for another line.

use std::fmt::{self, Write};

/// Shows `text` in one line: control characters, line ends included, by their escapes.
pub fn one_line(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for character in text.chars() {
            if character.is_control() && character != '\t' {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    })
}

/// Shows `text` line by line, each but the first on a line of its own, indented.
pub fn indented(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for (index, line) in text.lines().enumerate() {
            if index > 0 {
                f.write_str("\n    ")?;
            }
            write!(f, "{}", one_line(line))?;
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

    #[test]
    fn nothing_escapes_its_line() {
        assert_eq!(
            one_line("a\x1b[2Jb\r\nc\td").to_string(),
            "a\\u{1b}[2Jb\\r\\nc\td"
        );
        assert_eq!(indented("a\nb\x07\n").to_string(), "a\n    b\\u{7}");
    }

    #[test]
    fn the_front_ends_between_characters() {
        assert_eq!(front("äöü", 3), "ä");
        assert_eq!(front("abc", 10), "abc");
    }
}
