//! The comparison of a value: `== 200`, `not contains "x"`, `exists`.

use std::cmp::Ordering;

use regex_lite::Regex;
use serde_json::Value;

use super::literal::Cursor;
use super::variables::Variables;

/// A comparison.
#[derive(Debug)]
pub(super) struct Predicate {
    is_negated: bool,
    test: Test,
}

#[derive(Debug)]
enum Test {
    Equal(Value),
    NotEqual(Value),
    Ordered(&'static str, Value),
    Contains(Value),
    StartsWith(Value),
    EndsWith(Value),
    Matches(Regex),
    Exists,
    IsEmpty,
    IsType(&'static str),
}

/// The predicates for the order of two numbers or two texts.
const ORDERS: [&str; 4] = ["<=", ">=", "<", ">"];

/// The predicates for types.
const TYPES: [&str; 6] = [
    "isBoolean",
    "isInteger",
    "isList",
    "isNumber",
    "isObject",
    "isString",
];

impl Predicate {
    /// Parses a predicate up to the end of its line.
    ///
    /// # Errors
    ///
    /// Fails if the predicate is unknown or lacks its value, or if something follows it.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let is_negated = cursor.take("not");
        let word = cursor.word().unwrap_or_default();
        let known = |all: &[&'static str]| all.iter().copied().find(|one| *one == word);
        let test = match word {
            "==" => Test::Equal(cursor.value()?),
            "!=" => Test::NotEqual(cursor.value()?),
            "contains" => Test::Contains(cursor.value()?),
            "startsWith" => Test::StartsWith(cursor.value()?),
            "endsWith" => Test::EndsWith(cursor.value()?),
            "matches" => Test::Matches(cursor.regex()?),
            "exists" => Test::Exists,
            "isEmpty" => Test::IsEmpty,
            _ => match (known(&ORDERS), known(&TYPES)) {
                (Some(order), _) => Test::Ordered(order, cursor.value()?),
                (_, Some(kind)) => Test::IsType(kind),
                _ => {
                    return Err(format!(
                        "unknown predicate {word:?}: expected ==, !=, <, <=, >, >=, contains, \
                         startsWith, endsWith, matches, exists, isEmpty or a type such as isString"
                    ));
                }
            },
        };
        cursor.end()?;
        Ok(Self { is_negated, test })
    }

    /// Reports whether a value passes. `found` is None if the response has no such thing.
    ///
    /// # Errors
    ///
    /// Fails if a variable has no value.
    pub(super) fn holds(
        &self,
        found: Option<&Value>,
        variables: &Variables,
    ) -> Result<bool, String> {
        let expand = |value: &Value| match value {
            Value::String(text) => variables.expand(text).map(Value::String),
            other => Ok(other.clone()),
        };
        let holds = match (&self.test, found) {
            (Test::Exists, found) => found.is_some(),
            // A thing that doesn't exist is different from any value.
            (Test::NotEqual(_), None) => true,
            (_, None) => false,
            (Test::Equal(value), Some(found)) => are_equal(found, &expand(value)?),
            (Test::NotEqual(value), Some(found)) => !are_equal(found, &expand(value)?),
            (Test::Ordered(order, value), Some(found)) => {
                is_ordered(order, compare(found, &expand(value)?))
            }
            (Test::Contains(value), Some(found)) => contains(found, &expand(value)?),
            (Test::StartsWith(value), Some(found)) => {
                both_texts(found, &expand(value)?, |text, part| text.starts_with(part))
            }
            (Test::EndsWith(value), Some(found)) => {
                both_texts(found, &expand(value)?, |text, part| text.ends_with(part))
            }
            (Test::Matches(regex), Some(found)) => {
                found.as_str().is_some_and(|text| regex.is_match(text))
            }
            (Test::IsEmpty, Some(found)) => is_empty(found),
            (Test::IsType(kind), Some(found)) => is_type(kind, found),
        };
        Ok(holds != self.is_negated)
    }
}

/// Compares two values. A number equals a text of the same number, because variables are texts.
fn are_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => compare(one, other) == Some(Ordering::Equal),
        (Value::Number(number), Value::String(text))
        | (Value::String(text), Value::Number(number)) => number.to_string() == *text,
        _ => one == other,
    }
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => Some(one.cmp(&other)),
            _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
        },
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

fn is_ordered(order: &str, found: Option<Ordering>) -> bool {
    found.is_some_and(|found| match order {
        "<" => found.is_lt(),
        "<=" => found.is_le(),
        ">" => found.is_gt(),
        _ => found.is_ge(),
    })
}

fn contains(found: &Value, part: &Value) -> bool {
    match found {
        Value::Array(all) => all.iter().any(|one| are_equal(one, part)),
        _ => both_texts(found, part, |text, part| text.contains(part)),
    }
}

fn both_texts(found: &Value, part: &Value, test: impl Fn(&str, &str) -> bool) -> bool {
    match (found.as_str(), part.as_str()) {
        (Some(found), Some(part)) => test(found, part),
        _ => false,
    }
}

fn is_empty(found: &Value) -> bool {
    match found {
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

fn is_type(kind: &str, found: &Value) -> bool {
    match kind {
        "isBoolean" => found.is_boolean(),
        "isInteger" => found.is_i64() || found.is_u64(),
        "isList" => found.is_array(),
        "isNumber" => found.is_number(),
        "isObject" => found.is_object(),
        _ => found.is_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(found: Option<&Value>, predicate: &str) -> bool {
        let variables = Variables::new([("x".to_owned(), "7".to_owned())]);
        let predicate = Predicate::parse(&mut Cursor::new(predicate)).expect(predicate);
        predicate.holds(found, &variables).expect("a result")
    }

    #[test]
    fn a_predicate_holds_for_its_values_and_its_negation_for_all_others() {
        for (found, predicate, expected) in [
            (Some(json!(200)), "== 200", true),
            (Some(json!(200)), "== 200.0", true),
            (Some(json!(200)), "!= 200", false),
            (Some(json!("200")), "== 201", false),
            (Some(json!(7)), "== \"{{x}}\"", true),
            (Some(json!(7)), "== {{x}}", true),
            (Some(json!(199)), "< 200", true),
            (Some(json!(200)), "<= 200", true),
            (Some(json!(200)), "> 200", false),
            (Some(json!("a")), "> 200", false),
            (Some(json!(1.5)), ">= 1", true),
            (Some(json!("abc")), "contains \"b\"", true),
            (Some(json!(["a", "b"])), "contains \"b\"", true),
            (Some(json!(["ab"])), "contains \"b\"", false),
            (Some(json!("abc")), "startsWith \"ab\"", true),
            (Some(json!("abc")), "endsWith \"ab\"", false),
            (Some(json!("abc")), "matches /^a.c$/", true),
            (Some(json!("abc")), "exists", true),
            (Some(json!(null)), "== null", true),
            (Some(json!([])), "isEmpty", true),
            (Some(json!(0)), "isEmpty", false),
            (Some(json!(1)), "isInteger", true),
            (Some(json!(1.5)), "isInteger", false),
            (Some(json!({})), "isObject", true),
            (None, "exists", false),
            (None, "== null", false),
            (None, "!= 1", true),
            (None, "isEmpty", false),
        ] {
            let shown = format!("{found:?} {predicate}");
            assert_eq!(holds(found.as_ref(), predicate), expected, "{shown}");
            let negated = format!("not {predicate}");
            assert_eq!(holds(found.as_ref(), &negated), !expected, "{shown}");
        }
    }

    #[test]
    fn an_invalid_predicate_is_an_error() {
        for predicate in ["", "= 200", "==", "== 200 201", "exists 1", "not"] {
            assert!(
                Predicate::parse(&mut Cursor::new(predicate)).is_err(),
                "{predicate}"
            );
        }
    }
}
