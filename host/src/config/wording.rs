//! Translates the messages of serde and the TOML parser for readers who know neither Rust nor
//! parsers.
//!
//! serde's messages have fixed forms: `invalid type: string "5", expected usize`. Each becomes the
//! expected value, in TOML terms, and the value that was found, as it is written. The messages of
//! this crate's own types are already in this form and stay unchanged.

use super::nearest;
use crate::redact;

/// The maximum length of a quoted value in a message, in characters: enough to find it.
const MAX_SHOWN_CHARS: usize = 40;

/// Returns the error for a value written as `written`, for serde's `message`.
pub(super) fn of_value(message: &str, written: &str) -> String {
    // After the first line, the TOML crate quotes the file.
    let message = message.trim_end();
    let Some(what) = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
    else {
        return of_choice(message, written).unwrap_or_else(|| message.to_owned());
    };
    let Some((found, expected)) = what.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let advice = if is_quoted(found, expected) {
        ", without quotes"
    } else {
        ""
    };
    format!(
        "expected {}{advice}, found {}",
        of_type(expected),
        shown(written)
    )
}

/// Translates serde's name of the expected type.
fn of_type(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "usize" | "u64" => "a whole number",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number, which may be negative",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "path string" => "text in quotes",
        "a sequence" => "a list, such as [\"a\", \"b\"]",
        "a map" => "a table",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    }
}

/// Reports whether a number or boolean is in quotes.
fn is_quoted(found: &str, expected: &str) -> bool {
    let wanted = of_type(expected);
    let is_bare = wanted.starts_with("a whole number") || wanted == "a number";
    found.starts_with("string ") && (is_bare || wanted == "true or false")
}

/// Returns the error for a word that is not one of the valid choices.
fn of_choice(message: &str, written: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown variant ")?;
    let (_, choices) = rest.split_once(", expected ")?;
    let choices = choices.trim_start_matches("one of ").replace('`', "\"");
    Some(format!("expected {choices}, found {}", shown(written)))
}

/// Returns the key that serde does not know, and the error for it. None for any other message.
pub(super) fn of_unknown_field(message: &str) -> Option<(String, String)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (field, rest) = rest.split_once('`')?;
    let known = rest.split('`').skip(1).step_by(2);
    let why = match nearest::nearest(field, known) {
        _ if nearest::synonym(field).is_some() => {
            nearest::synonym(field).unwrap_or_default().to_owned()
        }
        Some(nearest) => format!("unknown key; did you mean {nearest}?"),
        None => {
            let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
            format!("unknown key; valid keys are {}", known.join(", "))
        }
    };
    Some((field.to_owned(), why))
}

/// Returns the error for invalid TOML, for the parser's `message` about `line`.
pub(super) fn of_syntax(message: &str, line: &str) -> String {
    let line = &*redact::urls(line.trim());
    let value = line.split_once('=').map(|(_, value)| value);
    let value = value.map(|value| value.split('#').next().unwrap_or_default().trim());
    match value {
        Some("yes" | "on" | "True" | "TRUE") => return "write true".to_owned(),
        Some("no" | "off" | "False" | "FALSE") => return "write false".to_owned(),
        _ => {}
    }
    match message {
        "string values must be quoted, expected literal string" => match value {
            None | Some("") => format!("the value is missing in {}", cut(line)),
            Some(value) if value.contains('"') => format!("a stray quote in {}", cut(value)),
            Some(value) => format!("text stands in quotes: write \"{}\"", cut(value)),
        },
        "invalid basic string, expected `\"`" => {
            format!("missing closing quote: {}", cut(line))
        }
        "key with no value, expected `=`" => format!("expected KEY = VALUE, found {}", cut(line)),
        "invalid key-value pair, expected key" => {
            format!("expected [SECTION] or KEY = VALUE, found {}", cut(line))
        }
        "duplicate key" => format!("duplicate key: {} is already set", cut(line)),
        _ => match message.split_once(", expected ") {
            Some((what, expected)) => format!("{what}: expected {expected}"),
            None => message.to_owned(),
        },
    }
}

/// Returns the first line of a value as written, without passwords of URLs, and shortened if
/// necessary.
fn shown(written: &str) -> String {
    cut(&redact::urls(
        written.lines().next().unwrap_or_default().trim(),
    ))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_serde_is_translated_to_terms_of_toml() {
        for (message, written, said) in [
            (
                "invalid type: string \"5\", expected usize",
                "\"5\"",
                "expected a whole number, without quotes, found \"5\"",
            ),
            (
                "invalid value: integer `-1`, expected u16",
                "-1",
                "expected a whole number from 0 to 65535, found -1",
            ),
            (
                "invalid type: string \"no\", expected a boolean",
                "\"no\"",
                "expected true or false, without quotes, found \"no\"",
            ),
            (
                "invalid type: map, expected a string",
                "1979-05-27",
                "expected text in quotes, found 1979-05-27",
            ),
            (
                "invalid type: string \"a\", expected a sequence",
                "\"a\"",
                "expected a list, such as [\"a\", \"b\"], found \"a\"",
            ),
            (
                "unknown variant `x`, expected `a` or `b`",
                "\"x\"",
                "expected \"a\" or \"b\", found \"x\"",
            ),
            ("a word of our own", "1", "a word of our own"),
        ] {
            assert_eq!(of_value(message, written), said);
        }
        let long = of_value("invalid type: string, expected u8", &"ä".repeat(100));
        assert!(
            long.ends_with("ä …") && long.chars().count() < 120,
            "{long}"
        );
    }

    #[test]
    fn an_unknown_key_of_a_table_is_reported_with_the_nearest_one() {
        let message = "unknown field `reused`, expected one of `reuse`, `memory`";
        let (field, why) = of_unknown_field(message).expect("it is one");
        assert_eq!(
            (&*field, &*why),
            ("reused", "unknown key; did you mean reuse?")
        );
        let message = "unknown field `zzz`, expected `reuse` or `memory`";
        let (_, why) = of_unknown_field(message).expect("it is one");
        assert_eq!(why, "unknown key; valid keys are reuse, memory");
        assert_eq!(of_unknown_field("invalid type"), None);
    }
}
