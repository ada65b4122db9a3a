//! Values as a test file writes them: `"text"`, `` `text` ``, `12`, `true`, `/regex/`.

use regex_lite::Regex;
use serde_json::{Number, Value};

/// A part of a line.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(line: &'a str) -> Self {
        Self { rest: line.trim() }
    }

    /// Takes the next word: up to white space.
    pub(super) fn word(&mut self) -> Option<&'a str> {
        let end = self.rest.find(char::is_whitespace);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        (!word.is_empty()).then_some(word)
    }

    /// Returns the next word without taking it.
    pub(super) fn peek(&self) -> Option<&'a str> {
        self.rest.split_whitespace().next()
    }

    /// Takes the next word if it is `word`.
    pub(super) fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        if is_next {
            self.word();
        }
        is_next
    }

    /// Takes a text: between double quotes with escapes, or between backticks without.
    ///
    /// # Errors
    ///
    /// Fails if the next value is not a text, or if the text has no end or an unknown escape.
    pub(super) fn text(&mut self) -> Result<String, String> {
        if let Some(rest) = self.rest.strip_prefix('`') {
            let (text, rest) = rest.split_once('`').ok_or("the closing ` is missing")?;
            self.rest = rest.trim_start();
            return Ok(text.to_owned());
        }
        let inner = self.rest.strip_prefix('"');
        let inner = inner.ok_or_else(|| self.expected("a text in double quotes"))?;
        let mut text = String::new();
        let mut characters = inner.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.rest = inner.get(at + 1..).unwrap_or_default().trim_start();
                    return Ok(text);
                }
                '\\' => text.push(escape(&mut characters)?),
                other => text.push(other),
            }
        }
        Err("the closing \" is missing".to_owned())
    }

    /// Takes a value: a text, a number, `true`, `false` or `null`.
    ///
    /// # Errors
    ///
    /// Fails if the next word is another one.
    pub(super) fn value(&mut self) -> Result<Value, String> {
        if self.rest.starts_with(['"', '`']) {
            return self.text().map(Value::String);
        }
        let value = match self.peek() {
            Some("true") => Value::Bool(true),
            Some("false") => Value::Bool(false),
            Some("null") => Value::Null,
            // A variable's value is a text.
            Some(word) if word.starts_with("{{") => Value::String(word.to_owned()),
            Some(word) => {
                let number = word.parse::<Number>();
                Value::Number(number.map_err(|_| self.expected("a value"))?)
            }
            None => return Err(self.expected("a value")),
        };
        self.word();
        Ok(value)
    }

    /// Takes a regular expression: between slashes, or as a text.
    ///
    /// # Errors
    ///
    /// Fails if the expression is invalid or has no end.
    pub(super) fn regex(&mut self) -> Result<Regex, String> {
        let pattern = match self.rest.strip_prefix('/') {
            None => self.text()?,
            Some(inner) => {
                let end = end_of_regex(inner).ok_or("the closing / is missing")?;
                let (pattern, rest) = inner.split_at(end);
                self.rest = rest.get(1..).unwrap_or_default().trim_start();
                pattern.replace("\\/", "/")
            }
        };
        Regex::new(&pattern).map_err(|error| format!("invalid regular expression: {error}"))
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// Fails if something is left.
    pub(super) fn end(&self) -> Result<(), String> {
        match self.rest {
            "" => Ok(()),
            rest => Err(format!("unexpected {rest:?} at the end of the line")),
        }
    }

    fn expected(&self, what: &str) -> String {
        match self.rest {
            "" => format!("expected {what} at the end of the line"),
            rest => format!("expected {what}, found {rest:?}"),
        }
    }
}

fn end_of_regex(inner: &str) -> Option<usize> {
    let mut is_escaped = false;
    inner.char_indices().find_map(|(at, character)| {
        let is_end = character == '/' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

/// Takes what follows a backslash.
fn escape(characters: &mut std::str::CharIndices<'_>) -> Result<char, String> {
    let (_, character) = characters.next().ok_or("the closing \" is missing")?;
    Ok(match character {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'b' => '\u{8}',
        'f' => '\u{c}',
        '"' | '\\' | '#' | '/' => character,
        'u' => return unicode(characters),
        other => return Err(format!("unknown escape \\{other}")),
    })
}

/// Takes the rest of `\u{1f600}`.
fn unicode(characters: &mut std::str::CharIndices<'_>) -> Result<char, String> {
    let rest = characters.as_str();
    let digits = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let (digits, _) = digits.ok_or("expected \\u{…} with hexadecimal digits")?;
    let code = u32::from_str_radix(digits, 16)
        .ok()
        .and_then(char::from_u32);
    // The braces and the digits, which are ASCII.
    let _ = characters.nth(digits.len() + 1);
    code.ok_or_else(|| format!("\\u{{{digits}}} is not a character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_types_that_they_are_written_with() {
        for (text, value) in [
            (
                "\"a \\\"b\\\" \\u{e9}\\n\"",
                serde_json::json!("a \"b\" é\n"),
            ),
            ("`a\\b`", serde_json::json!("a\\b")),
            ("12", serde_json::json!(12)),
            ("-1.5", serde_json::json!(-1.5)),
            ("true", serde_json::json!(true)),
            ("null", Value::Null),
            ("{{id}}", serde_json::json!("{{id}}")),
        ] {
            let mut cursor = Cursor::new(text);
            assert_eq!(cursor.value(), Ok(value), "{text}");
            assert_eq!(cursor.end(), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_invalid_value_says_what_was_expected() {
        for (text, error) in [
            ("", "expected a value at the end of the line"),
            ("abc", "expected a value, found \"abc\""),
            ("\"abc", "the closing \" is missing"),
            ("\"a\\q\"", "unknown escape \\q"),
            ("\"\\u{110000}\"", "\\u{110000} is not a character"),
        ] {
            assert_eq!(Cursor::new(text).value(), Err(error.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_regular_expression_is_written_between_slashes_or_quotes() {
        for text in ["/^a\\/b$/", "\"^a/b$\""] {
            let regex = Cursor::new(text).regex().expect(text);
            assert!(regex.is_match("a/b"), "{text}");
        }
        assert!(Cursor::new("/(/").regex().is_err());
        assert!(Cursor::new("/a").regex().is_err());
    }
}
