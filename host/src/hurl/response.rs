//! A response, and what a test can ask of it.

use regex_lite::Regex;
use serde_json::Value;

use super::jsonpath::JsonPath;
use super::literal::Cursor;
use super::variables::Variables;

/// A complete response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub status: u16,
    /// The fields in their order.
    pub fields: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

/// A question about a response: `header "Location"`, `jsonpath "$.users" count`.
#[derive(Debug)]
pub(super) struct Query {
    source: Source,
    /// Whether it asks for a number: of elements, of characters, or of bytes.
    is_count: bool,
}

#[derive(Debug)]
enum Source {
    Status,
    Header(String),
    Cookie(String),
    Body,
    /// The body's bytes, of which only the number can be asked for.
    Bytes,
    JsonPath(JsonPath),
    /// The first group of a regular expression's first match in the body.
    Regex(Regex),
    Variable(String),
}

impl Response {
    /// Returns the values of all fields of this name.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.fields.iter();
        let named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// Returns the body as text. Invalid UTF-8 becomes U+FFFD.
    pub(super) fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    ///
    /// Fails if the body is no JSON document.
    pub(super) fn json(&self) -> Result<Value, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the body is not JSON: {error}"))
    }

    /// Returns the value of the last cookie of this name that the response sets.
    fn cookie(&self, name: &str) -> Option<&str> {
        let cookies = self.values("set-cookie").filter_map(|field| {
            let (pair, _) = field.split_once(';').unwrap_or((field, ""));
            pair.split_once('=')
        });
        let named = cookies.filter(|(cookie, _)| cookie.trim() == name);
        named.map(|(_, value)| value.trim()).last()
    }
}

impl Query {
    /// Parses a query from the start of a line.
    ///
    /// # Errors
    ///
    /// Fails if the query is unknown or lacks its argument.
    pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Self, String> {
        let source = match cursor.word() {
            Some("status") => Source::Status,
            Some("header") => Source::Header(cursor.text()?),
            Some("cookie") => Source::Cookie(cursor.text()?),
            Some("body") => Source::Body,
            Some("bytes") => Source::Bytes,
            Some("jsonpath") => Source::JsonPath(JsonPath::parse(&cursor.text()?)?),
            Some("regex") => Source::Regex(cursor.regex()?),
            Some("variable") => Source::Variable(cursor.text()?),
            other => {
                let other = other.unwrap_or_default();
                return Err(format!(
                    "unknown query {other:?}: expected status, header, cookie, body, bytes, \
                     jsonpath, regex or variable"
                ));
            }
        };
        let is_count = cursor.take("count");
        match (&source, is_count) {
            (Source::Bytes, false) => Err("expected \"count\" after \"bytes\"".to_owned()),
            _ => Ok(Self { source, is_count }),
        }
    }

    /// Returns the answer, or None if the response has no such thing.
    ///
    /// # Errors
    ///
    /// Fails if the body is not JSON but has to be, or if the answer can't be counted.
    pub(super) fn ask(
        &self,
        response: &Response,
        variables: &Variables,
    ) -> Result<Option<Value>, String> {
        let text = |text: &str| Value::String(text.to_owned());
        let found = match &self.source {
            Source::Status => Some(Value::from(response.status)),
            Source::Header(name) => one_or_all(response.values(name).map(text).collect()),
            Source::Cookie(name) => response.cookie(name).map(text),
            Source::Body => Some(text(&response.text())),
            Source::Bytes => return Ok(Some(Value::from(response.body.len()))),
            Source::JsonPath(path) => path.find(&response.json()?).cloned(),
            Source::Regex(regex) => {
                let body = response.text();
                let found = regex.captures(&body);
                found.and_then(|groups| groups.get(1).or(groups.get(0)).map(|it| text(it.as_str())))
            }
            Source::Variable(name) => variables.get(name).map(text),
        };
        match (self.is_count, found) {
            (false, found) => Ok(found),
            (true, None) => Ok(Some(Value::from(0))),
            (true, Some(Value::Array(all))) => Ok(Some(Value::from(all.len()))),
            (true, Some(Value::Object(all))) => Ok(Some(Value::from(all.len()))),
            (true, Some(Value::String(text))) => Ok(Some(Value::from(text.chars().count()))),
            (true, Some(other)) => Err(format!("{other} has no count")),
        }
    }
}

/// Returns the only value, or an array of several.
fn one_or_all(mut values: Vec<Value>) -> Option<Value> {
    match values.len() {
        0 => None,
        1 => values.pop(),
        _ => Some(Value::Array(values)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(query: &str) -> Result<Option<Value>, String> {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let response = Response {
            status: 201,
            fields: vec![
                field("Vary", "a"),
                field("vary", "b"),
                field("Set-Cookie", "id=1; Path=/"),
                field("Set-Cookie", "id=2; Path=/"),
            ],
            body: "{\"users\": [1, 2], \"name\": \"Zoë\"}".into(),
        };
        let variables = Variables::new([("x".to_owned(), "7".to_owned())]);
        let mut cursor = Cursor::new(query);
        Query::parse(&mut cursor)?.ask(&response, &variables)
    }

    #[test]
    fn each_query_finds_its_part_of_the_response() {
        for (query, answer) in [
            ("status", Some(json!(201))),
            ("header \"VARY\"", Some(json!(["a", "b"]))),
            ("header \"vary\" count", Some(json!(2))),
            ("header \"none\"", None),
            ("header \"none\" count", Some(json!(0))),
            ("cookie \"id\"", Some(json!("2"))),
            ("cookie \"none\"", None),
            ("bytes count", Some(json!(33))),
            ("body count", Some(json!(32))),
            ("jsonpath \"$.users\" count", Some(json!(2))),
            ("jsonpath \"$.name\"", Some(json!("Zoë"))),
            ("jsonpath \"$.none\"", None),
            ("regex /\"name\": \"(.*)\"/", Some(json!("Zoë"))),
            ("regex /us[a-z]+/", Some(json!("users"))),
            ("regex /none/", None),
            ("variable \"x\"", Some(json!("7"))),
        ] {
            assert_eq!(ask(query), Ok(answer), "{query}");
        }
    }

    #[test]
    fn a_query_that_makes_no_sense_is_an_error() {
        for query in ["", "xpath \"a\"", "header", "bytes", "jsonpath \"$..a\""] {
            assert!(ask(query).is_err(), "{query}");
        }
        assert!(ask("status count").is_err());
    }
}
