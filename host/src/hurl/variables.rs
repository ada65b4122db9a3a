//! `{{name}}` in the texts of a test file: variables of the command line, and captures.

use std::collections::BTreeMap;

/// The variables of a test file.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(super) fn new(given: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(given.into_iter().collect())
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        self.0.insert(name.to_owned(), value);
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns `text` with the values of its variables.
    ///
    /// # Errors
    ///
    /// Fails if a variable has no value.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, after)) = after.split_once("}}") else {
                break;
            };
            let name = name.trim();
            let value = self.get(name).ok_or_else(|| {
                format!(
                    "there is no variable {name:?}: capture it, or pass --variable {name}=VALUE"
                )
            })?;
            expanded.push_str(before);
            expanded.push_str(value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_replaced_once() {
        let variables = Variables::new([("a".into(), "{{b}}".into()), ("b".into(), "2".into())]);
        assert_eq!(
            variables.expand("x{{ a }}y{{b}}").as_deref(),
            Ok("x{{b}}y2")
        );
        assert_eq!(variables.expand("{{").as_deref(), Ok("{{"));
        let error = variables.expand("{{c}}").expect_err("an error");
        assert!(error.contains("--variable c=VALUE"), "{error}");
    }
}
