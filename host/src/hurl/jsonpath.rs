//! The part of JSONPath (RFC 9535) that names one value: `$.users[0].name`, `$['a b']`.

use serde_json::Value;

/// A path to one value of a JSON document.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonPath(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    /// The index of an element. Negative ones count from the end.
    Index(i64),
}

impl JsonPath {
    /// Parses a path.
    ///
    /// # Errors
    ///
    /// Fails if it doesn't begin with `$`, or has filters, wildcards, slices or `..`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let unsupported =
            || format!("{text:?} is not a path to one value, such as \"$.users[0].name\"");
        let mut rest = text.strip_prefix('$').ok_or_else(unsupported)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = match rest.strip_prefix('.') {
                Some(name) => name_step(name),
                None => bracket_step(rest),
            }
            .ok_or_else(unsupported)?;
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// Returns the value at this path, if it exists.
    pub(super) fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, |value, step| match step {
            Step::Name(name) => value.get(name),
            Step::Index(index) => element(value.as_array()?, *index),
        })
    }
}

fn element(array: &[Value], index: i64) -> Option<&Value> {
    match usize::try_from(index) {
        Ok(at) => array.get(at),
        Err(_) => {
            let from_end = usize::try_from(index.unsigned_abs()).ok()?;
            array.get(array.len().checked_sub(from_end)?)
        }
    }
}

fn name_step(rest: &str) -> Option<(Step, &str)> {
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    let is_name = !name.is_empty() && !name.contains(['*', '?', ' ', ']']);
    is_name.then(|| (Step::Name(name.to_owned()), after))
}

fn bracket_step(rest: &str) -> Option<(Step, &str)> {
    let inner = rest.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(name) = inner.strip_prefix(quote) {
            let (name, after) = name.split_once(quote)?;
            return Some((Step::Name(name.to_owned()), after.strip_prefix(']')?));
        }
    }
    let (index, after) = inner.split_once(']')?;
    Some((Step::Index(index.parse().ok()?), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_one_value() {
        let document = serde_json::json!({"users": [{"name": "Ada"}, {"a b": [1, 2]}]});
        for (path, value) in [
            ("$.users[0].name", Some(serde_json::json!("Ada"))),
            ("$.users[-1]['a b'][1]", Some(serde_json::json!(2))),
            ("$['users'][0]", Some(serde_json::json!({"name": "Ada"}))),
            ("$.users[2]", None),
            ("$.users[-3]", None),
            ("$.none", None),
            ("$.users.name", None),
        ] {
            let path = JsonPath::parse(path).expect(path);
            assert_eq!(path.find(&document), value.as_ref(), "{path:?}");
        }
        assert_eq!(
            JsonPath::parse("$").expect("$").find(&document),
            Some(&document)
        );
    }

    #[test]
    fn paths_to_several_values_are_refused() {
        for path in [
            "",
            "a",
            "$..a",
            "$.*",
            "$[*]",
            "$[0:2]",
            "$[?(@.a)]",
            "$.",
            "$['a",
        ] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
    }
}
