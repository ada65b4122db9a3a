//! The parser of test files.

use std::fmt;
use std::path::PathBuf;

use serde::de::IgnoredAny;

use super::entry::{Assert, Body, Entry, Expectation};
use super::lines::Lines;
use super::literal::Cursor;
use super::predicate::Predicate;
use super::response::Query;

/// The reason why a file is not a test file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// The number of the line. The first line has number 1.
    pub line: usize,
    /// The reason.
    pub why: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.why)
    }
}

/// Parses a test file.
///
/// # Errors
///
/// Fails if the file is invalid, uses a part of the format that isn't supported, or has no request.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, Invalid> {
    let mut parser = Parser {
        lines: Lines::new(text),
    };
    let mut entries = Vec::new();
    while parser.lines.peek().is_some() {
        entries.push(parser.entry()?);
    }
    if entries.is_empty() {
        return Err(parser.invalid("the file has no request"));
    }
    Ok(entries)
}

struct Parser<'a> {
    lines: Lines<'a>,
}

impl<'a> Parser<'a> {
    fn entry(&mut self) -> Result<Entry, Invalid> {
        let line = self.lines.number();
        let content = self.lines.peek().unwrap_or_default();
        let (method, url) = request_line(content).ok_or_else(|| {
            self.invalid(&format!(
                "expected a request such as `GET /hello`, found {content:?}"
            ))
        })?;
        self.lines.skip_line();
        let mut entry = Entry {
            line,
            method: method.to_owned(),
            url: url.to_owned(),
            fields: self.pairs()?,
            query: Vec::new(),
            cookies: Vec::new(),
            basic_auth: None,
            body: None,
            expectation: None,
        };
        while let Some((at, section)) = self.section() {
            self.lines.skip_line();
            match section {
                "Query" | "QueryStringParams" => entry.query.extend(self.pairs()?),
                "Form" | "FormParams" => entry.body = Some(Body::Form(self.pairs()?)),
                "Cookies" => entry.cookies.extend(self.pairs()?),
                "BasicAuth" => entry.basic_auth = self.pairs()?.pop(),
                other => return Err(unsupported_section(at, other, "of a request")),
            }
        }
        if let Some(body) = self.body()? {
            entry.body = Some(body);
        }
        if let Some(status) = self.lines.peek().and_then(status_line) {
            entry.expectation = Some(self.expectation(status)?);
        }
        Ok(entry)
    }

    fn expectation(&mut self, status: &str) -> Result<Expectation, Invalid> {
        let line = self.lines.number();
        let status = match status {
            "*" => None,
            code => match code.parse() {
                Ok(code @ 100..=599) => Some((line, code)),
                _ => return Err(self.invalid("expected `HTTP` and a status from 100 to 599, or *")),
            },
        };
        self.lines.skip_line();
        let mut expectation = Expectation {
            status,
            ..Expectation::default()
        };
        while let Some((name, value)) = self.lines.peek().and_then(pair) {
            let field = (self.lines.number(), name.to_owned(), value.to_owned());
            expectation.fields.push(field);
            self.lines.skip_line();
        }
        while let Some((at, section)) = self.section() {
            self.lines.skip_line();
            match section {
                "Captures" => self.captures(&mut expectation)?,
                "Asserts" => self.asserts(&mut expectation)?,
                other => return Err(unsupported_section(at, other, "of a response")),
            }
        }
        let line = self.body_line();
        expectation.body = self.body()?.map(|body| (line, body));
        Ok(expectation)
    }

    fn captures(&mut self, expectation: &mut Expectation) -> Result<(), Invalid> {
        while let Some((name, query)) = self.lines.peek().and_then(pair) {
            let mut cursor = Cursor::new(query);
            let query = Query::parse(&mut cursor).and_then(|query| cursor.end().map(|()| query));
            let query = query.map_err(|why| self.invalid(&why))?;
            let capture = (self.lines.number(), name.to_owned(), query);
            expectation.captures.push(capture);
            self.lines.skip_line();
        }
        Ok(())
    }

    fn asserts(&mut self, expectation: &mut Expectation) -> Result<(), Invalid> {
        while let Some(content) = self.lines.peek() {
            let is_next = request_line(content).is_some() || status_line(content).is_some();
            if is_next || begins_body(content) || section_name(content).is_some() {
                break;
            }
            let mut cursor = Cursor::new(content);
            let parsed = Query::parse(&mut cursor)
                .and_then(|query| Ok((query, Predicate::parse(&mut cursor)?)));
            let (query, predicate) = parsed.map_err(|why| self.invalid(&why))?;
            expectation.asserts.push(Assert {
                line: self.lines.number(),
                text: content.to_owned(),
                query,
                predicate,
            });
            self.lines.skip_line();
        }
        Ok(())
    }

    /// Parses lines of the form `name: value`.
    fn pairs(&mut self) -> Result<Vec<(String, String)>, Invalid> {
        let mut pairs = Vec::new();
        while let Some(content) = self.lines.peek() {
            let Some((name, value)) = pair(content) else {
                break;
            };
            if name.is_empty() {
                return Err(self.invalid("expected a name before the colon"));
            }
            pairs.push((name.to_owned(), value.replace("\\#", "#")));
            self.lines.skip_line();
        }
        Ok(pairs)
    }

    /// Returns the line and the name of the section that begins next.
    fn section(&mut self) -> Option<(usize, &'a str)> {
        let name = self.lines.peek().and_then(section_name)?;
        Some((self.lines.number(), name))
    }

    fn body_line(&mut self) -> usize {
        self.lines.peek();
        self.lines.number()
    }

    fn body(&mut self) -> Result<Option<Body>, Invalid> {
        let Some(content) = self.lines.peek().filter(|content| begins_body(content)) else {
            return Ok(None);
        };
        self.lines.skip_space();
        let rest = self.lines.rest();
        let body = if let Some(block) = rest.strip_prefix("```") {
            let (text, bytes) =
                fenced(block).ok_or_else(|| self.invalid("the closing ``` is missing"))?;
            self.lines.advance(3 + bytes);
            Body::Text(text)
        } else if rest.starts_with(['{', '[']) {
            let bytes = json_bytes(rest).map_err(|error| self.invalid(&error))?;
            self.lines.advance(bytes);
            Body::Json(rest.get(..bytes).unwrap_or_default().to_owned())
        } else {
            let body = one_line_body(content).map_err(|why| self.invalid(&why))?;
            self.lines.skip_line();
            return Ok(Some(body));
        };
        let after = self.lines.rest().lines().next().unwrap_or_default().trim();
        if !after.is_empty() && !after.starts_with('#') {
            return Err(self.invalid(&format!("unexpected {after:?} after the body")));
        }
        self.lines.skip_line();
        Ok(Some(body))
    }

    fn invalid(&self, why: &str) -> Invalid {
        Invalid {
            line: self.lines.number(),
            why: why.to_owned(),
        }
    }
}

fn unsupported_section(line: usize, name: &str, of: &str) -> Invalid {
    let why = format!("[{name}] is not a section {of} that is supported");
    Invalid { line, why }
}

/// Divides a request line. A method consists of capital letters.
fn request_line(content: &str) -> Option<(&str, &str)> {
    let (method, url) = content.split_once(char::is_whitespace)?;
    let is_method = method.bytes().all(|byte| byte.is_ascii_uppercase());
    let is_request = is_method && method != "HTTP" && !method.is_empty();
    is_request.then(|| (method, url.trim()))
}

/// Returns the status of a line such as `HTTP 200` or `HTTP/1.1 *`.
fn status_line(content: &str) -> Option<&str> {
    let (version, status) = content.split_once(char::is_whitespace)?;
    let is_version = matches!(version, "HTTP" | "HTTP/1.0" | "HTTP/1.1" | "HTTP/2");
    is_version.then(|| status.trim())
}

/// Divides a line such as `Accept: text/html`. The name has no white space.
fn pair(content: &str) -> Option<(&str, &str)> {
    if begins_body(content) {
        return None;
    }
    let (name, value) = content.split_once(':')?;
    (!name.contains(char::is_whitespace)).then(|| (name, value.trim()))
}

/// Returns the name in `[Asserts]`. A name begins with a capital letter, which no JSON array does.
fn section_name(content: &str) -> Option<&str> {
    let name = content.strip_prefix('[')?.strip_suffix(']')?;
    name.starts_with(|first: char| first.is_ascii_uppercase())
        .then_some(name)
}

fn begins_body(content: &str) -> bool {
    let is_section = section_name(content).is_some();
    let is_bytes = content.starts_with("file,") || content.starts_with("hex,");
    !is_section && (content.starts_with(['{', '[', '`']) || is_bytes)
}

/// Returns the text of a block that ends with three backticks, and the block's length with them.
fn fenced(block: &str) -> Option<(String, usize)> {
    let end = block.find("```")?;
    let inside = block.get(..end)?;
    // The rest of the first line names a language.
    let text = match inside.split_once('\n') {
        Some((_, text)) => text,
        None => inside,
    };
    Some((text.replace("\r\n", "\n"), end + 3))
}

/// Returns the length of the JSON value at the start of `text`.
fn json_bytes(text: &str) -> Result<usize, String> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(IgnoredAny)) => Ok(values.byte_offset()),
        Some(Err(error)) => Err(format!("the body is not valid JSON: {error} of the body")),
        None => Err("the body is not valid JSON".to_owned()),
    }
}

/// Parses `` `text` ``, `hex,0a0b;` and `file,data.bin;`.
fn one_line_body(content: &str) -> Result<Body, String> {
    if content.starts_with('`') {
        let mut cursor = Cursor::new(content);
        let text = cursor.text()?;
        return cursor.end().map(|()| Body::Text(text));
    }
    let (kind, value) = content.split_once(',').unwrap_or((content, ""));
    let value = value
        .strip_suffix(';')
        .ok_or("expected a `;` at the end")?
        .trim();
    match kind {
        "file" => Ok(Body::File(PathBuf::from(value))),
        _ => bytes(value).map(Body::Bytes),
    }
}

fn bytes(digits: &str) -> Result<Vec<u8>, String> {
    let invalid = || format!("{digits:?} is not an even number of hexadecimal digits");
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return Err(invalid());
    }
    (0..digits.len())
        .step_by(2)
        .map(|at| {
            digits
                .get(at..at + 2)
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
        })
        .collect::<Option<_>>()
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_requests_and_expectations() {
        let text = "# A test\n\
                    GET http://localhost/a # first\n\
                    Accept: text/html\n\
                    [Query]\n\
                    q: a b\n\
                    \n\
                    HTTP/1.1 200\n\
                    Content-Type: text/html\n\
                    [Captures]\n\
                    id: jsonpath \"$.id\"\n\
                    [Asserts]\n\
                    header \"A\" == \"[b]\"\n\
                    body contains \"x: y\"\n\
                    \n\
                    POST /b\n\
                    { \"a\": [1,\n\
                    2] }\n\
                    HTTP *\n\
                    ```json\n\
                    line\n\
                    ```\n\
                    PUT /c\n\
                    `text`\n";
        let entries = parse(text).expect("valid");
        let [first, second, third] = entries.as_slice() else {
            panic!("{entries:?}");
        };
        assert_eq!((first.line, &*first.method), (2, "GET"));
        assert_eq!(first.url, "http://localhost/a");
        assert_eq!(
            first.fields,
            [("Accept".to_owned(), "text/html".to_owned())]
        );
        assert_eq!(first.query, [("q".to_owned(), "a b".to_owned())]);
        let expectation = first.expectation.as_ref().expect("an expectation");
        assert_eq!(expectation.status, Some((7, 200)));
        assert_eq!(expectation.fields.len(), 1);
        assert_eq!(expectation.captures.len(), 1);
        let lines: Vec<usize> = expectation.asserts.iter().map(|one| one.line).collect();
        assert_eq!(lines, [12, 13]);
        assert!(matches!(&second.body, Some(Body::Json(json)) if json.ends_with("2] }")));
        let expectation = second.expectation.as_ref().expect("an expectation");
        assert_eq!(expectation.status, None);
        assert!(matches!(&expectation.body, Some((19, Body::Text(text))) if text == "line\n"));
        assert!(matches!(&third.body, Some(Body::Text(text)) if text == "text"));
        assert!(third.expectation.is_none());
    }

    #[test]
    fn bodies_are_text_json_bytes_or_files() {
        for (text, shown) in [
            ("[1, 2]", "Json(\"[1, 2]\")"),
            ("{}", "Json(\"{}\")"),
            ("```\na\n\nb```", "Text(\"a\\n\\nb\")"),
            ("```a```", "Text(\"a\")"),
            ("`a`", "Text(\"a\")"),
            ("hex,00fF;", "Bytes([0, 255])"),
            ("file,a b.bin;", "File(\"a b.bin\")"),
            ("[Form]\na: b", "Form([(\"a\", \"b\")])"),
        ] {
            let entries = parse(&format!("POST /a\n{text}\n\nHTTP 200\n")).expect(text);
            let entry = entries.first().expect("an entry");
            assert_eq!(format!("{:?}", entry.body.as_ref().expect(text)), shown);
            assert!(entry.expectation.is_some(), "{text}");
        }
    }

    #[test]
    fn an_invalid_file_says_where_and_why() {
        for (text, line, why) in [
            ("", 1, "no request"),
            ("# nothing\n", 2, "no request"),
            ("get /a\n", 1, "expected a request"),
            ("GET /a\n\nHTTP 999", 3, "a status from 100 to 599"),
            (
                "GET /a\nHTTP 200\n[Asserts]\nstatus = 200",
                4,
                "unknown predicate \"=\"",
            ),
            (
                "GET /a\nHTTP 200\n[Asserts]\nstat == 200",
                4,
                "unknown query \"stat\"",
            ),
            (
                "GET /a\n[Options]\nretry: 3",
                2,
                "[Options] is not a section of a request",
            ),
            (
                "GET /a\nHTTP 200\n[Form]",
                3,
                "[Form] is not a section of a response",
            ),
            ("POST /a\n{ \"a\": }", 2, "the body is not valid JSON"),
            ("POST /a\n{} x", 2, "unexpected \"x\" after the body"),
            ("POST /a\n```\na", 2, "the closing ``` is missing"),
            ("POST /a\nhex,0;", 2, "hexadecimal"),
            ("POST /a\nfile,a", 2, "expected a `;`"),
            ("GET /a\n: b", 2, "expected a name"),
            (
                "GET /a\nHTTP 200\n[Captures]\nx: status x",
                4,
                "unexpected \"x\"",
            ),
        ] {
            let invalid = parse(text).expect_err(text);
            assert_eq!(invalid.line, line, "{text}: {invalid}");
            assert!(invalid.why.contains(why), "{text}: {invalid}");
        }
    }

    #[test]
    fn a_deep_document_is_an_error() {
        let text = format!("POST /a\n{}", "[".repeat(100_000));
        assert!(parse(&text).is_err());
    }
}
