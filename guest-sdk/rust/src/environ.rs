//! `environ`: the request as a handler sees it.

use std::fmt;
use std::sync::Arc;

use crate::backend;
use crate::errors::Errors;
use crate::input::Input;
use crate::params::Params;

/// `environ`: the request's variables, its body and the error log.
///
/// Requesting single variables is much cheaper than requesting all. Values are bytes, as they were
/// on the wire (E4); [`text`](Self::text) converts the many that are text.
///
/// A clone refers to the same environ and is cheap.
#[derive(Clone)]
pub struct Environ {
    inner: Arc<backend::Environ>,
}

impl Environ {
    pub(crate) fn new(inner: backend::Environ) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    #[cfg(any(not(target_arch = "wasm32"), feature = "stdio"))]
    pub(crate) fn backend(&self) -> &Arc<backend::Environ> {
        &self.inner
    }

    /// Returns the value of a variable, such as `PATH_INFO`, or none if the request doesn't have
    /// it.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.get(name)
    }

    /// Returns the value of a variable as text. Invalid UTF-8 becomes U+FFFD.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(lossy)
    }

    /// Returns all variables, each name once. The streams are not included: see
    /// [`input`](Self::input) and [`errors`](Self::errors).
    pub fn variables(&self) -> Vec<(String, Vec<u8>)> {
        self.inner.variables()
    }

    /// Returns `wsgi.input`: the request's body. Call it once: a second `Input` misses the bytes
    /// that the first has read.
    pub fn input(&self) -> Input {
        Input::new(Arc::clone(&self.inner))
    }

    /// Returns `wsgi.errors`: the server's error log.
    pub fn errors(&self) -> Errors {
        Errors::new(Arc::clone(&self.inner))
    }

    /// Returns `REQUEST_METHOD`: `GET`, `POST`, …
    pub fn method(&self) -> String {
        self.text("REQUEST_METHOD").unwrap_or_default()
    }

    /// Returns `SCRIPT_NAME`: the part of the path that leads to this handler. It is empty or
    /// starts with `/` (E3).
    pub fn script_name(&self) -> String {
        self.text("SCRIPT_NAME").unwrap_or_default()
    }

    /// Returns `PATH_INFO`: the rest of the path, decoded. It is empty or starts with `/` (E3).
    pub fn path_info(&self) -> String {
        self.text("PATH_INFO").unwrap_or_default()
    }

    /// Returns `QUERY_STRING`, decoded: `?name=value&…`.
    pub fn query(&self) -> Params {
        Params::parse(&self.get("QUERY_STRING").unwrap_or_default())
    }

    /// Returns the value of a request field, such as `Accept-Language`, from the variable that
    /// represents it.
    pub fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.get(&variable_of(name))
    }

    /// Returns `CONTENT_LENGTH` in bytes, or none if there is no body or it is chunked.
    pub fn content_length(&self) -> Option<u64> {
        self.text("CONTENT_LENGTH")?.parse().ok()
    }

    /// Returns the value of a segment of the route: `id` of `users/[id].wasm`, `rest` of
    /// `files/[...rest].wasm`.
    pub fn route(&self, name: &str) -> Option<String> {
        self.text(&format!("wasgi.route.{name}"))
    }
}

impl fmt::Debug for Environ {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let variables = self.variables();
        let entries = variables
            .iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(value)));
        formatter.debug_map().entries(entries).finish()
    }
}

/// Returns the name of the variable that represents a request field (E2).
pub(crate) fn variable_of(field: &str) -> String {
    let name = field.replace('-', "_").to_ascii_uppercase();
    match &*name {
        "CONTENT_TYPE" | "CONTENT_LENGTH" => name,
        _ => format!("HTTP_{name}"),
    }
}

/// Converts bytes to text. Invalid UTF-8 becomes U+FFFD.
pub(crate) fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_the_name_they_are_sent_with() {
        let environ = Environ::builder()
            .header("Accept-Language", "de")
            .header("Content-Type", "text/plain")
            .build();
        assert_eq!(environ.header("accept-language").unwrap(), b"de");
        assert_eq!(environ.header("content-type").unwrap(), b"text/plain");
        assert_eq!(environ.get("HTTP_CONTENT_TYPE"), None);
        assert_eq!(environ.header("accept"), None);
    }

    #[test]
    fn values_are_bytes_and_text_on_demand() {
        let environ = Environ::builder().variable("HTTP_X", b"caf\xe9").build();
        assert_eq!(environ.get("HTTP_X").unwrap(), b"caf\xe9");
        assert_eq!(environ.text("HTTP_X").unwrap(), "caf\u{fffd}");
    }

    #[test]
    fn the_route_and_the_query_are_at_hand() {
        let environ = Environ::builder()
            .path("/users/7?sort=up")
            .route("id", "7")
            .build();
        assert_eq!(environ.route("id").unwrap(), "7");
        assert_eq!(environ.route("rest"), None);
        assert_eq!(environ.query().get("sort"), Some("up"));
    }
}
