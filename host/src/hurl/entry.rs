//! A request and what its response must be, as a test file has them. Texts still have their
//! `{{name}}`.

use std::path::PathBuf;

use super::predicate::Predicate;
use super::response::Query;

/// A request and its expectation.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) line: usize,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) fields: Vec<(String, String)>,
    /// Pairs to append to the URL's query.
    pub(super) query: Vec<(String, String)>,
    pub(super) cookies: Vec<(String, String)>,
    /// Name and password for `Authorization: Basic`.
    pub(super) basic_auth: Option<(String, String)>,
    pub(super) body: Option<Body>,
    pub(super) expectation: Option<Expectation>,
}

/// A body in a test file.
#[derive(Debug)]
pub(super) enum Body {
    /// Pairs of `application/x-www-form-urlencoded`. Only in requests.
    Form(Vec<(String, String)>),
    /// JSON. A response is compared by value, so white space and the order of names don't count.
    Json(String),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// The contents of a file, relative to the test file's folder.
    File(PathBuf),
}

/// What a response must be.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    /// The expected status and its line. None for `HTTP *`.
    pub(super) status: Option<(usize, u16)>,
    pub(super) fields: Vec<(usize, String, String)>,
    pub(super) captures: Vec<(usize, String, Query)>,
    pub(super) asserts: Vec<Assert>,
    pub(super) body: Option<(usize, Body)>,
}

/// A line of `[Asserts]`.
#[derive(Debug)]
pub(super) struct Assert {
    pub(super) line: usize,
    /// The line's text, for messages.
    pub(super) text: String,
    pub(super) query: Query,
    pub(super) predicate: Predicate,
}

/// A request to send: the texts without `{{name}}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The method: `GET`.
    pub method: String,
    /// Path and query, percent-encoded: `/hello?x=1`.
    pub target: String,
    /// The fields in their order. Fields for the body's framing are not included.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Option<Vec<u8>>,
}
