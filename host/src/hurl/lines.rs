//! A test file as a sequence of lines.

/// The lines of a file that are not parsed yet.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    /// The number of bytes parsed.
    at: usize,
    /// The number of the next line. The first line has number 1.
    number: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text: text.strip_prefix('\u{feff}').unwrap_or(text),
            at: 0,
            number: 1,
        }
    }

    /// Returns the number of the next line.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// Returns the text that is not parsed yet.
    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips empty lines and comments. Returns the next line without its comment, its indentation
    /// and trailing space, but doesn't advance. None at the end of the file.
    pub(super) fn peek(&mut self) -> Option<&'a str> {
        loop {
            let line = self.rest().lines().next()?;
            let content = without_comment(line).trim();
            if !content.is_empty() {
                return Some(content);
            }
            self.advance(line_bytes(self.rest()));
        }
    }

    /// Advances beyond the next line.
    pub(super) fn skip_line(&mut self) {
        self.advance(line_bytes(self.rest()));
    }

    /// Advances by a number of bytes.
    pub(super) fn advance(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.text.len());
        let passed = self.text.get(self.at..end).unwrap_or_default();
        self.number += passed.matches('\n').count();
        self.at = end;
    }

    /// Advances to the first character of the next line's content.
    pub(super) fn skip_space(&mut self) {
        let rest = self.rest();
        self.advance(rest.len() - rest.trim_start().len());
    }
}

/// Returns the length of the first line in bytes, its end included.
fn line_bytes(text: &str) -> usize {
    text.find('\n').map_or(text.len(), |end| end + 1)
}

/// Returns a line without its comment: from a `#` at its start or after white space, unless the `#`
/// is part of a quoted text, of a text between backticks, or of a regular expression.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    let mut is_escaped = false;
    for (at, character) in line.char_indices() {
        match (quote, character) {
            _ if is_escaped => is_escaped = false,
            (_, '\\') => is_escaped = true,
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '`') => quote = Some(character),
            (None, '/') if begins_regex(line.get(..at)) => quote = Some('/'),
            (None, '#') if before.is_whitespace() => return line.get(..at).unwrap_or(line),
            _ => {}
        }
        before = character;
    }
    line
}

/// Reports whether a slash after this text begins a regular expression.
fn begins_regex(before: Option<&str>) -> bool {
    let word = before.unwrap_or_default().split_whitespace().next_back();
    matches!(word, Some("matches" | "regex"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_a_line_unless_they_are_quoted() {
        for (line, content) in [
            ("# all of it", ""),
            ("GET /a # a comment", "GET /a "),
            ("GET /a#b", "GET /a#b"),
            ("body contains \"a # b\" # c", "body contains \"a # b\" "),
            ("body == `a # b`", "body == `a # b`"),
            ("body matches /a # b/ # c", "body matches /a # b/ "),
            ("body == \"a \\\" # b\"", "body == \"a \\\" # b\""),
            ("X: a \\# b", "X: a \\# b"),
        ] {
            assert_eq!(without_comment(line), content, "{line}");
        }
    }

    #[test]
    fn lines_are_numbered_from_one() {
        let mut lines = Lines::new("\u{feff}\n# one\n\n  GET /a  \r\nX: 1");
        assert_eq!(lines.peek(), Some("GET /a"));
        assert_eq!(lines.number(), 4);
        lines.skip_line();
        assert_eq!((lines.peek(), lines.number()), (Some("X: 1"), 5));
        lines.skip_line();
        assert_eq!(lines.peek(), None);
    }
}
