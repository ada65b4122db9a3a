//! Builds an environ for tests of handlers.

use crate::backend;
use crate::environ::{Environ, variable_of};
use crate::percent::decode;
use crate::refusal::InputError;

/// Builds an [`Environ`]. The initial values are those of `GET /` over HTTP/1.1, with all variables
/// that a server always sets (E1).
///
/// The values are not checked, so that a test can use values that no server would send.
#[derive(Clone, Debug)]
pub struct EnvironBuilder {
    variables: Vec<(String, Vec<u8>)>,
    body: Vec<Vec<u8>>,
    failure: Option<InputError>,
}

impl Environ {
    /// Creates a builder. Not available in a component.
    pub fn builder() -> EnvironBuilder {
        let builder = EnvironBuilder {
            variables: Vec::new(),
            body: Vec::new(),
            failure: None,
        };
        let always = [
            ("REQUEST_METHOD", "GET"),
            ("SCRIPT_NAME", ""),
            ("SERVER_NAME", "localhost"),
            ("SERVER_PORT", "8000"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("REMOTE_ADDR", "127.0.0.1"),
            ("REMOTE_PORT", "50000"),
            ("HTTP_HOST", "localhost:8000"),
            ("wsgi.version", "1.0"),
            ("wsgi.url_scheme", "http"),
            ("wsgi.multithread", "false"),
            ("wsgi.multiprocess", "true"),
            ("wsgi.run_once", "true"),
            ("wsgi.input_terminated", "true"),
        ];
        always
            .iter()
            .fold(builder, |builder, (name, value)| {
                builder.variable(name, value)
            })
            .path("/")
    }

    /// Returns the text that has been written to `wsgi.errors` so far. Not available in a
    /// component.
    pub fn logged(&self) -> String {
        let errors = backend::lock(&self.backend().errors);
        String::from_utf8_lossy(&errors).into_owned()
    }
}

impl EnvironBuilder {
    /// Sets `REQUEST_METHOD`.
    pub fn method(self, method: &str) -> Self {
        self.variable("REQUEST_METHOD", method)
    }

    /// Sets the path and the query as a client would send them, such as `/users/7?sort=up`: sets
    /// `REQUEST_URI`, `RAW_URI`, `PATH_INFO` (decoded) and `QUERY_STRING`.
    pub fn path(self, target: &str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.variable("REQUEST_URI", target)
            .variable("RAW_URI", target)
            .variable("PATH_INFO", decode(path.as_bytes()))
            .variable("QUERY_STRING", query)
    }

    /// Sets the path of the handler, such as `/users`: moves that prefix of `PATH_INFO` to
    /// `SCRIPT_NAME` (E3). Call it after [`path`](Self::path).
    pub fn mounted_at(self, path: &str) -> Self {
        let mount = decode(path.as_bytes());
        let rest = self
            .value("PATH_INFO")
            .and_then(|info| info.strip_prefix(&*mount))
            .map(<[u8]>::to_vec);
        self.variable("SCRIPT_NAME", mount)
            .variable("PATH_INFO", rest.unwrap_or_default())
    }

    /// Adds a request field, in the variable that represents it. If the field is already set, the
    /// values are joined (E2).
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let variable = variable_of(name);
        let separator = if variable == "HTTP_COOKIE" { "; " } else { "," };
        let joined = match self.value(&variable) {
            Some(before) => [before, separator.as_bytes(), value.as_ref()].concat(),
            None => value.as_ref().to_vec(),
        };
        self.variable(&variable, joined)
    }

    /// Sets the value of a segment of the route: `route("id", "7")`.
    pub fn route(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.variable(&format!("wasgi.route.{name}"), value)
    }

    /// Sets a variable.
    pub fn variable(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self = self.without(name);
        self.variables
            .push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Removes a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(variable, _)| variable != name);
        self
    }

    /// Sets the request's body and its `CONTENT_LENGTH`. Each further call adds a block that
    /// arrives later.
    pub fn body(mut self, block: impl AsRef<[u8]>) -> Self {
        self.body.push(block.as_ref().to_vec());
        let length: usize = self.body.iter().map(Vec::len).sum();
        self.variable("CONTENT_LENGTH", length.to_string())
    }

    /// Makes reading the body fail after the blocks of [`body`](Self::body).
    pub fn body_fails(mut self, failure: InputError) -> Self {
        self.failure = Some(failure);
        self
    }

    /// Returns the environ.
    pub fn build(self) -> Environ {
        let blocks = self.body.into_iter().rev().collect();
        Environ::new(backend::Environ {
            variables: self.variables,
            body: backend::Incoming {
                blocks,
                failure: self.failure,
            }
            .into(),
            errors: Default::default(),
        })
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        let found = self.variables.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| &**value)
    }
}
