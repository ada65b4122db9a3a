//! Sends the requests of a test file and compares the responses.

use std::path::Path;

use serde_json::Value;

use super::cookies::Cookies;
use super::entry::{Assert, Body, Entry, Expectation, Outgoing};
use super::response::Response;
use super::variables::Variables;
use crate::{base64, regular_file};

/// The characters of a text that a message shows.
const MAX_SHOWN_CHARACTERS: usize = 200;

/// The maximum size of a file that is a body, in bytes: far above the uploads of a test.
const MAX_BODY_FILE_BYTES: u64 = 256 << 20;

/// Sends requests.
pub(crate) trait Send {
    /// Sends a request and returns the response.
    ///
    /// # Errors
    ///
    /// Fails if there is no complete response, with the reason.
    fn send(&mut self, request: &Outgoing) -> Result<Response, String>;
}

/// The first request of a file that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What is wrong, and on which line.
    pub problems: Vec<(usize, String)>,
    /// The response, if there was one.
    pub response: Option<Response>,
}

/// Sends the requests of a file in order, and stops at the first one that fails. `folder` is that
/// of the file; `variables` are those of the command line.
///
/// # Errors
///
/// Fails with the first request whose response is not as expected, or that can't be sent.
pub(crate) fn run(
    entries: &[Entry],
    folder: &Path,
    variables: &[(String, String)],
    sender: &mut impl Send,
) -> Result<(), Failure> {
    let mut session = Session {
        folder,
        variables: Variables::new(variables.iter().cloned()),
        cookies: Cookies::default(),
    };
    for entry in entries {
        let problem = |why: String| Failure {
            problems: vec![(entry.line, why)],
            response: None,
        };
        let outgoing = session.outgoing(entry).map_err(problem)?;
        let response = sender.send(&outgoing).map_err(problem)?;
        for field in response.values("set-cookie") {
            session.cookies.receive(field);
        }
        let Some(expectation) = &entry.expectation else {
            continue;
        };
        let problems = session.compare(expectation, &response);
        if !problems.is_empty() {
            return Err(Failure {
                problems,
                response: Some(response),
            });
        }
    }
    Ok(())
}

/// The state that the requests of a file share.
struct Session<'a> {
    folder: &'a Path,
    variables: Variables,
    cookies: Cookies,
}

impl Session<'_> {
    fn outgoing(&self, entry: &Entry) -> Result<Outgoing, String> {
        let url = self.variables.expand(&entry.url)?;
        let (host, target) = divide(&url)?;
        let mut target = target.to_owned();
        for (name, value) in self.expand_pairs(&entry.query)? {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(&encode(&name));
            target.push('=');
            target.push_str(&encode(&value));
        }
        let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
        let given = self.expand_pairs(&entry.fields)?;
        let is_given = |name: &str| {
            given
                .iter()
                .any(|(field, _)| field.eq_ignore_ascii_case(name))
        };
        if let Some(host) = host.filter(|_| !is_given("host")) {
            fields.push(("Host".to_owned(), host.into()));
        }
        let media_type = entry.body.as_ref().and_then(Body::media_type);
        if let Some(media_type) = media_type.filter(|_| !is_given("content-type")) {
            fields.push(("Content-Type".to_owned(), media_type.into()));
        }
        if let Some((name, password)) = &entry.basic_auth {
            let pair = format!("{name}:{password}");
            let pair = self.variables.expand(&pair)?;
            let value = format!("Basic {}", base64::encode(pair.as_bytes()));
            fields.push(("Authorization".to_owned(), value.into_bytes()));
        }
        if let Some(value) = self.cookies.field(&self.expand_pairs(&entry.cookies)?) {
            fields.push(("Cookie".to_owned(), value.into_bytes()));
        }
        fields.extend(
            given
                .into_iter()
                .map(|(name, value)| (name, value.into_bytes())),
        );
        let body = entry.body.as_ref();
        Ok(Outgoing {
            method: entry.method.clone(),
            target,
            fields,
            body: body.map(|body| self.bytes(body)).transpose()?,
        })
    }

    /// Returns the bytes of a body.
    fn bytes(&self, body: &Body) -> Result<Vec<u8>, String> {
        match body {
            Body::Form(pairs) => {
                let pairs = self.expand_pairs(pairs)?;
                let pairs = pairs
                    .iter()
                    .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
                Ok(pairs.collect::<Vec<_>>().join("&").into_bytes())
            }
            Body::Json(text) | Body::Text(text) => {
                self.variables.expand(text).map(String::into_bytes)
            }
            Body::Bytes(bytes) => Ok(bytes.clone()),
            Body::File(path) => {
                let file = self.folder.join(path);
                regular_file::read(&file, MAX_BODY_FILE_BYTES)
                    .map_err(|error| format!("{}: {error}", file.display()))
            }
        }
    }

    fn expand_pairs(&self, pairs: &[(String, String)]) -> Result<Vec<(String, String)>, String> {
        let expand = |(name, value): &(String, String)| {
            Ok((self.variables.expand(name)?, self.variables.expand(value)?))
        };
        pairs.iter().map(expand).collect()
    }

    /// Compares a response with what is expected of it, and sets the captured variables. Returns
    /// all differences.
    fn compare(&mut self, expected: &Expectation, response: &Response) -> Vec<(usize, String)> {
        let mut problems = Vec::new();
        if let Some((line, status)) = expected.status
            && status != response.status
        {
            let why = format!("status: expected {status}, got {}", response.status);
            problems.push((line, why));
        }
        for (line, name, value) in &expected.fields {
            match self.variables.expand(value) {
                Ok(value) => problems.extend(field_problem(*line, name, &value, response)),
                Err(why) => problems.push((*line, why)),
            }
        }
        for (line, name, query) in &expected.captures {
            match query.ask(response, &self.variables) {
                Ok(Some(Value::String(text))) => self.variables.set(name, text),
                Ok(Some(value)) => self.variables.set(name, value.to_string()),
                Ok(None) => problems.push((*line, format!("{name}: nothing to capture"))),
                Err(why) => problems.push((*line, why)),
            }
        }
        for assert in &expected.asserts {
            problems.extend(self.assert_problem(assert, response));
        }
        if let Some((line, body)) = &expected.body {
            let why = self.body_problem(body, response).unwrap_or_else(Some);
            problems.extend(why.map(|why| (*line, why)));
        }
        problems
    }

    fn assert_problem(&self, assert: &Assert, response: &Response) -> Option<(usize, String)> {
        let why = match assert.query.ask(response, &self.variables) {
            Err(why) => why,
            Ok(found) => match assert.predicate.holds(found.as_ref(), &self.variables) {
                Ok(true) => return None,
                Ok(false) => match found {
                    Some(found) => format!("{}: got {}", assert.text, short(&found.to_string())),
                    None => format!("{}: got nothing", assert.text),
                },
                Err(why) => why,
            },
        };
        Some((assert.line, why))
    }

    /// Returns the difference of a body, if there is one.
    fn body_problem(&self, body: &Body, response: &Response) -> Result<Option<String>, String> {
        let expected = self.bytes(body)?;
        if let Body::Json(_) = body {
            let expected: Value = serde_json::from_slice(&expected)
                .map_err(|error| format!("the expected body is not JSON: {error}"))?;
            let found = response.json()?;
            return Ok((expected != found).then(|| {
                format!(
                    "body: expected {expected}, got {}",
                    short(&found.to_string())
                )
            }));
        }
        let shown = |bytes: &[u8]| short(&format!("{:?}", String::from_utf8_lossy(bytes)));
        Ok((expected != response.body).then(|| {
            let (expected, found) = (shown(&expected), shown(&response.body));
            format!("body: expected {expected}, got {found}")
        }))
    }
}

impl Body {
    /// Returns the default `Content-Type` of a request with this body.
    fn media_type(&self) -> Option<&'static str> {
        match self {
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Json(_) => Some("application/json"),
            Self::Text(_) | Self::Bytes(_) | Self::File(_) => None,
        }
    }
}

/// Returns the difference of a field, if none of its values is the expected one.
fn field_problem(
    line: usize,
    name: &str,
    value: &str,
    response: &Response,
) -> Option<(usize, String)> {
    let values: Vec<&str> = response.values(name).collect();
    if values.contains(&value) {
        return None;
    }
    let found = match values.as_slice() {
        [] => "no such field".to_owned(),
        values => short(&values.join(", ")),
    };
    Some((line, format!("{name}: expected {value}, got {found}")))
}

/// Divides a URL into its host and its target. A path alone has no host.
fn divide(url: &str) -> Result<(Option<&str>, &str), String> {
    if url.starts_with('/') {
        return Ok((None, url));
    }
    let rest = url.strip_prefix("http://").or(url.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| {
        format!("{url:?}: expected a path such as /hello, or a URL such as http://localhost/hello")
    })?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    match target {
        "" => Ok((Some(host), "/")),
        query if query.starts_with('?') => {
            Err(format!("{url:?}: the path is missing before the ?"))
        }
        target => Ok((Some(host), target)),
    }
}

/// Encodes a name or a value for a query or a form (WHATWG URL, section 5).
fn encode(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'*');
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Shortens a text for a message.
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::*;

    /// Answers each request with the next response, and keeps the requests.
    struct Script {
        responses: Vec<Response>,
        requests: Vec<Outgoing>,
    }

    impl Send for Script {
        fn send(&mut self, request: &Outgoing) -> Result<Response, String> {
            self.requests.push(Outgoing {
                method: request.method.clone(),
                target: request.target.clone(),
                fields: request.fields.clone(),
                body: request.body.clone(),
            });
            match self.responses.is_empty() {
                true => Err("no response".to_owned()),
                false => Ok(self.responses.remove(0)),
            }
        }
    }

    fn response(status: u16, fields: &[(&str, &str)], body: &str) -> Response {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        Response {
            status,
            fields: fields.collect(),
            body: body.into(),
        }
    }

    fn run_file(text: &str, responses: Vec<Response>) -> (Result<(), Failure>, Vec<Outgoing>) {
        let mut script = Script {
            responses,
            requests: Vec::new(),
        };
        let variables = [("who".to_owned(), "Ada".to_owned())];
        let result = run(
            &parse(text).expect("valid"),
            Path::new("/none"),
            &variables,
            &mut script,
        );
        (result, script.requests)
    }

    fn field<'a>(request: &'a Outgoing, name: &str) -> Option<&'a str> {
        let found = request.fields.iter().find(|(field, _)| field == name)?;
        std::str::from_utf8(&found.1).ok()
    }

    #[test]
    fn a_request_has_its_query_form_host_and_authorization() {
        let text = "POST http://example.com/a?b\n\
                    [Query]\nq: x y&z\n[Form]\nname: {{who}} é\n[BasicAuth]\nAladdin: open sesame\n";
        let (result, requests) = run_file(text, vec![response(200, &[], "")]);
        assert!(result.is_ok());
        let request = requests.first().expect("a request");
        assert_eq!(request.target, "/a?b&q=x%20y%26z");
        assert_eq!(request.body.as_deref(), Some(&b"name=Ada%20%C3%A9"[..]));
        assert_eq!(field(request, "Host"), Some("example.com"));
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(field(request, "Content-Type"), form);
        // The example of RFC 7617 section 2.
        let authorization = Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(field(request, "Authorization"), authorization);
    }

    #[test]
    fn cookies_and_captures_are_kept_for_later_requests() {
        let text = "GET /login\n\nHTTP 200\n[Captures]\ntoken: regex /token=(\\w+)/\n\n\
                    GET /next?{{token}}\n\nHTTP 200\n";
        let first = response(200, &[("Set-Cookie", "id=7; HttpOnly")], "token=abc");
        let (result, requests) = run_file(text, vec![first, response(200, &[], "")]);
        assert!(result.is_ok());
        let second = requests.get(1).expect("a request");
        assert_eq!(second.target, "/next?abc");
        assert_eq!(field(second, "Cookie"), Some("id=7"));
    }

    #[test]
    fn every_difference_is_reported_and_no_more_requests_are_sent() {
        let text = "GET /a\n\nHTTP 200\nContent-Type: text/html\nX: 1\n[Asserts]\n\
                    body contains \"b\"\nbody contains \"z\"\nheader \"Y\" exists\n`z`\nGET /b\n";
        let found = response(500, &[("content-type", "text/plain")], "abc");
        let (result, requests) = run_file(text, vec![found, response(200, &[], "")]);
        let problems = result.expect_err("differences").problems;
        let expected = [
            (3, "status: expected 200, got 500"),
            (4, "Content-Type: expected text/html, got text/plain"),
            (5, "X: expected 1, got no such field"),
            (8, "body contains \"z\": got \"abc\""),
            (9, "header \"Y\" exists: got nothing"),
            (10, "body: expected \"z\", got \"abc\""),
        ];
        assert_eq!(problems, expected.map(|(line, why)| (line, why.to_owned())));
        assert_eq!(requests.len(), 1);
    }

    #[test]
    fn json_bodies_are_compared_by_value() {
        let text = "GET /a\n\nHTTP 200\n{ \"b\": 1,\n \"a\": \"{{who}}\" }\n";
        let same = response(200, &[], "{\"a\":\"Ada\",\"b\":1}");
        assert!(run_file(text, vec![same]).0.is_ok());
        let (result, _) = run_file(text, vec![response(200, &[], "{\"a\":\"Ada\",\"b\":2}")]);
        assert!(result.is_err());
        let (result, _) = run_file(text, vec![response(200, &[], "<p>")]);
        let problems = result.expect_err("a difference").problems;
        assert!(
            problems[0].1.starts_with("the body is not JSON"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_request_that_cant_be_sent_fails_at_its_line() {
        for (text, why) in [
            ("GET {{none}}\n", "--variable none=VALUE"),
            ("GET hello\n", "expected a path such as /hello"),
            ("GET http://localhost?a\n", "the path is missing"),
            ("POST /a\nfile,none.bin;\n", "/none/none.bin"),
            ("GET /a\n", "no response"),
        ] {
            let problems = run_file(text, Vec::new()).0.expect_err(text).problems;
            assert_eq!(problems[0].0, 1, "{text}");
            assert!(problems[0].1.contains(why), "{problems:?}");
        }
    }
}
