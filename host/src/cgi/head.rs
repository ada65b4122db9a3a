//! Parses the head of a program's output: one field per line, then an empty line (RFC 3875 section
//! 6.3).
//!
//! Lines end with LF or CRLF. `Status` sets the response's status, `Location` without a `Status`
//! makes the response a redirect, and all other fields are copied to the response. An invalid head
//! is rejected, not repaired, with a message for the program's author.

use std::fmt;

use crate::gateway::{Failure, Head, Response, StartError};
use crate::http1::reason;

/// The maximum number of fields in a head. The limit for requests is the same; servers commonly use
/// 100.
const MAX_FIELDS: usize = 100;

/// Reads a program's output up to the end of its head.
#[derive(Debug)]
pub(crate) struct HeadReader {
    bytes: Vec<u8>,
    /// The start of the first incomplete line: `line_start <= bytes.len()`.
    line_start: usize,
    limit_bytes: usize,
}

/// A complete head and the output after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Started {
    /// The response's head, checked.
    pub head: Head,
    /// The first bytes of the body.
    pub body: Vec<u8>,
}

/// The reason why a program's output is not a valid response: one line for the program's author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadHead(String);

impl HeadReader {
    /// Creates a reader that accepts a head of up to `limit_bytes`, line ends included.
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            line_start: 0,
            limit_bytes,
        }
    }

    /// Consumes the next part of the output. Returns the head once it is complete; do not call this
    /// again afterwards.
    ///
    /// # Errors
    ///
    /// Fails if the output is not the start of a valid head, or if the head is too large.
    pub(crate) fn feed(&mut self, output: &[u8]) -> Result<Option<Started>, BadHead> {
        self.bytes.extend_from_slice(output);
        while let Some((line, next)) = self.line() {
            if line.is_empty() {
                return self.finish(next).map(Some);
            }
            self.check_line_start(line)?;
            if next > self.limit_bytes {
                return Err(self.too_large());
            }
            self.line_start = next;
        }
        if self.bytes.len() > self.limit_bytes {
            return Err(self.too_large());
        }
        Ok(None)
    }

    /// Returns the error for a program that exits before its head is complete.
    pub(crate) fn cut_short(&self) -> BadHead {
        if self.bytes.is_empty() {
            return bad(
                "it wrote nothing: expected a head, such as Content-Type and an empty line",
            );
        }
        bad("it ended within the head: an empty line ends the fields")
    }

    /// Returns the line that begins at `line_start`, without its end, and the start of the next
    /// line.
    fn line(&self) -> Option<(&[u8], usize)> {
        let rest = self.bytes.get(self.line_start..)?;
        let length = memchr::memchr(b'\n', rest)?;
        let line = rest.get(..length)?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Some((line, self.line_start + length + 1))
    }

    /// Detects common mistakes before the whole head has arrived, with a specific message for each.
    fn check_line_start(&self, line: &[u8]) -> Result<(), BadHead> {
        if self.line_start == 0 && line.starts_with(b"HTTP/") {
            return Err(bad(
                "it begins with a status line: a program writes `Status: 200 OK` instead, and the \
                 server writes the status line",
            ));
        }
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            return Err(bad(format!(
                "the line {}: a field goes on one line (RFC 3875 section 6.3)",
                shown(line)
            )));
        }
        if !line.contains(&b':') {
            return Err(bad(format!(
                "the line {}: expected a field, `Name: value`, or an empty line after the last \
                 field",
                shown(line)
            )));
        }
        Ok(())
    }

    fn too_large(&self) -> BadHead {
        bad(format!(
            "its head is larger than {} bytes (--max-response-head), or the empty line after it \
             is missing",
            self.limit_bytes
        ))
    }

    /// Parses the lines before `line_start` as the head, and takes the output from `body_start` on
    /// as the body.
    fn finish(&mut self, body_start: usize) -> Result<Started, BadHead> {
        let lines = self.bytes.get(..self.line_start).unwrap_or_default();
        let mut fields = Fields::default();
        for line in lines.split_inclusive(|&byte| byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            fields.add(line.strip_suffix(b"\r").unwrap_or(line))?;
        }
        let head = fields.into_head(self.limit_bytes)?;
        let mut body = std::mem::take(&mut self.bytes);
        body.drain(..body_start);
        self.line_start = 0;
        Ok(Started { head, body })
    }
}

/// The fields of a head, with those that CGI defines stored separately.
#[derive(Debug, Default)]
struct Fields {
    status: Option<Vec<u8>>,
    has_location: bool,
    has_type: bool,
    others: Vec<(String, Vec<u8>)>,
}

impl Fields {
    fn add(&mut self, line: &[u8]) -> Result<(), BadHead> {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return Err(bad(format!("the line {}: not a field", shown(line))));
        };
        let value = value.trim_ascii();
        // "A NULL field value is equivalent to the field not being sent."
        if value.is_empty() {
            return Ok(());
        }
        // The check that all heads pass through later rejects a name that is not a token.
        let name = String::from_utf8_lossy(name).into_owned();
        let seen_before = match name.to_ascii_lowercase().as_str() {
            "status" => {
                if self.status.replace(value.to_vec()).is_some() {
                    return Err(bad("more than one Status field"));
                }
                return Ok(());
            }
            "location" => std::mem::replace(&mut self.has_location, true),
            "content-type" => std::mem::replace(&mut self.has_type, true),
            _ => false,
        };
        if seen_before {
            return Err(bad(format!("more than one {name} field")));
        }
        if self.others.len() == MAX_FIELDS {
            return Err(bad(format!("more than {MAX_FIELDS} fields")));
        }
        self.others.push((name, value.to_vec()));
        Ok(())
    }

    fn into_head(self, limit_bytes: usize) -> Result<Head, BadHead> {
        if self.status.is_none() && !self.has_location && !self.has_type {
            return Err(bad(
                "its head has neither Content-Type nor Location nor Status (RFC 3875 section 6.2)",
            ));
        }
        let status = match self.status {
            Some(status) => with_reason(status),
            None if self.has_location => b"302 Found".to_vec(),
            None => b"200 OK".to_vec(),
        };
        let mut response = Response::default();
        response
            .start(&status, self.others, false, limit_bytes)
            .map_err(|error| match error {
                StartError::Refused(why) => BadHead(why),
                other => bad(other.to_string()),
            })?;
        response.send().ok_or_else(|| bad("no head"))
    }
}

/// Appends the reason phrase, which is optional in a `Status` field: `404` becomes `404 Not Found`.
fn with_reason(status: Vec<u8>) -> Vec<u8> {
    let code = str::from_utf8(&status)
        .ok()
        .and_then(|code| code.parse().ok());
    match code.map(reason) {
        Some("") | None => status,
        Some(reason) => [&*status, b" ", reason.as_bytes()].concat(),
    }
}

/// Returns the start of a line, for a message about it.
fn shown(line: &[u8]) -> String {
    /// Enough to find the line, in bytes.
    const FRONT_BYTES: usize = 60;
    let front = line.get(..FRONT_BYTES).unwrap_or(line);
    let dots = if front.len() < line.len() { "…" } else { "" };
    format!("`{}{dots}`", front.escape_ascii())
}

fn bad(why: impl Into<String>) -> BadHead {
    BadHead(why.into())
}

impl fmt::Display for BadHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadHead {}

impl From<BadHead> for Failure {
    fn from(bad: BadHead) -> Self {
        Self::BadResponse(bad.0)
    }
}

#[cfg(test)]
mod tests;
