//! A client's request: the head, and the body piece by piece.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::http1::{Connection, Incoming, Limits, RequestHead};

/// A request, before it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The method: `GET`.
    pub method: String,
    /// Path and query, percent-encoded.
    pub target: String,
    /// Whether it is sent as HTTP/1.0 rather than HTTP/1.1.
    pub is_old: bool,
    /// The fields. `Host` and the fields for the body's framing are added.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body.
    pub upload: Upload,
}

/// The body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Upload {
    /// How the end of the body is marked.
    pub framing: Framing,
    /// The pieces. Each piece is sent when the handler has read the one before and wants more.
    pub pieces: Vec<Vec<u8>>,
    /// Whether the client disconnects after the last piece, before the body is complete.
    pub is_cut: bool,
}

/// How the end of a request's body is marked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    #[default]
    None,
    /// A length in bytes.
    Length(u64),
    /// Chunked encoding.
    Chunked,
}

/// The reason why a request is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadRequest(String);

impl Request {
    /// Creates a request without a body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            is_old: false,
            fields: Vec::new(),
            upload: Upload::default(),
        }
    }

    /// Adds a field.
    pub(crate) fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.fields.push((name.to_owned(), value.to_vec()));
        self
    }

    /// Sets a body with a declared length.
    pub(crate) fn with_body(mut self, pieces: &[&[u8]]) -> Self {
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        self.upload.framing = Framing::Length(length);
        self.upload.pieces = pieces.iter().map(|piece| piece.to_vec()).collect();
        self
    }

    /// Sends the head on a new connection, for the host `authority` unless it has a Host field.
    ///
    /// # Errors
    ///
    /// Fails if the protocol core would reject the request, with its message.
    pub(super) fn send(
        &self,
        authority: &str,
        now: Instant,
    ) -> Result<(Connection, Arc<RequestHead>), BadRequest> {
        let mut connection = Connection::new(Arc::new(Limits::default()), now);
        connection.receive(&self.head(authority)?, now);
        match connection.next_request(now) {
            Some(Incoming::Request(head)) => Ok((connection, head)),
            Some(Incoming::Rejected(rejection)) => Err(BadRequest(format!(
                "the server would respond with {}: {}",
                rejection.status, rejection.why
            ))),
            _ => Err(BadRequest("it is not a complete head".to_owned())),
        }
    }

    fn head(&self, authority: &str) -> Result<Vec<u8>, BadRequest> {
        check(self.method.as_bytes())?;
        check_target(&self.target)?;
        let version = if self.is_old { "1.0" } else { "1.1" };
        let line = format!("{} {} HTTP/{version}\r\n", self.method, self.target);
        let mut head = line.into_bytes();
        let mut field = |name: &str, value: &[u8]| {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        };
        if !self.is_old && !self.has("host") {
            field("Host", authority.as_bytes());
        }
        for (name, value) in &self.fields {
            check(name.as_bytes())?;
            check(value)?;
            field(name, value);
        }
        if !self.has("content-length") && !self.has("transfer-encoding") {
            match self.upload.framing {
                Framing::None => {}
                Framing::Length(length) => field("Content-Length", length.to_string().as_bytes()),
                Framing::Chunked => field("Transfer-Encoding", b"chunked"),
            }
        }
        head.extend_from_slice(b"\r\n");
        Ok(head)
    }

    fn has(&self, name: &str) -> bool {
        self.fields
            .iter()
            .any(|(field, _)| field.eq_ignore_ascii_case(name))
    }
}

impl Upload {
    /// Encodes a piece for the wire.
    pub(super) fn encode(&self, piece: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::Chunked if piece.is_empty() => Vec::new(),
            Framing::Chunked => {
                let size = format!("{:x}\r\n", piece.len());
                [size.as_bytes(), piece, b"\r\n"].concat()
            }
            Framing::None | Framing::Length(_) => piece.to_vec(),
        }
    }

    /// Returns the end of the body on the wire. Empty if the body is cut off.
    pub(super) fn end(&self) -> &'static [u8] {
        match self.framing {
            Framing::Chunked if !self.is_cut => b"0\r\n\r\n",
            _ => b"",
        }
    }
}

impl BadRequest {
    /// Creates an error from another reason.
    pub(super) fn new(reason: &impl fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

/// Rejects bytes that would end a line of the head early and start another one.
fn check(text: &[u8]) -> Result<(), BadRequest> {
    if text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        let text = String::from_utf8_lossy(text);
        return Err(BadRequest(format!("a line break in {text:?}")));
    }
    Ok(())
}

/// Rejects a target that no client sends, with a hint how to write it.
fn check_target(target: &str) -> Result<(), BadRequest> {
    let is_absolute = target.contains("://") || target == "*";
    if !target.starts_with('/') && !is_absolute {
        let wanted = target.trim_start();
        return Err(BadRequest(format!(
            "the path begins with a slash: write {:?}",
            format!("/{wanted}")
        )));
    }
    if let Some((before, _)) = target.split_once('#') {
        return Err(BadRequest(format!(
            "what stands behind a # is not sent to a server: write {before:?}, or %23 for the \
             character"
        )));
    }
    let foreign = |one: char| one == ' ' || one.is_control() || !one.is_ascii();
    let Some(one) = target.chars().find(|one| foreign(*one)) else {
        return Ok(());
    };
    let mut buffer = [0; 4];
    let bytes = one.encode_utf8(&mut buffer).bytes();
    let encoded: String = bytes.map(|byte| format!("%{byte:02X}")).collect();
    let what = match one {
        ' ' => "a space".to_owned(),
        '\n' | '\r' => "a line break".to_owned(),
        one if one.is_control() => "a control character".to_owned(),
        one => one.to_string(),
    };
    Err(BadRequest(format!("the path has {what}: write {encoded}")))
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRequest {}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(request: &Request) -> Result<Arc<RequestHead>, BadRequest> {
        request
            .send("localhost:8000", Instant::now())
            .map(|(_, head)| head)
    }

    #[test]
    fn host_and_framing_fields_are_added() {
        let head = send(&Request::new("POST", "/a?b").with_body(&[b"one", b"two"])).unwrap();
        assert_eq!(head.field("content-length"), Some(&b"6"[..]));
        assert_eq!(head.authority(), b"localhost:8000");
        let head = send(&Request::new("GET", "/").with("Host", b"example.org")).unwrap();
        assert_eq!(head.authority(), b"example.org");
    }

    #[test]
    fn an_invalid_request_is_rejected_with_the_reason() {
        let refused = |request: &Request| send(request).unwrap_err().to_string();
        let lines = Request::new("GET", "/").with("X", b"a\r\nY: b");
        assert!(refused(&lines).contains("line break"));
        for (target, said) in [
            ("/a b", "the path has a space: write %20"),
            ("/a?b c", "the path has a space: write %20"),
            ("/ü", "the path has ü: write %C3%BC"),
            ("/a\tb", "the path has a control character: write %09"),
            ("/a\nb", "the path has a line break: write %0A"),
            ("/a\0", "the path has a control character: write %00"),
            ("/a#b", "is not sent to a server: write \"/a\", or %23"),
            ("hello", "the path begins with a slash: write \"/hello\""),
            ("", "the path begins with a slash: write \"/\""),
            (
                "ftp://a/",
                "400: the request-target is neither a path nor an http URI",
            ),
        ] {
            let told = refused(&Request::new("GET", target));
            assert!(told.contains(said), "{target:?}: {told}");
        }
        assert!(refused(&Request::new("G T", "/")).contains("400"));
    }
}
