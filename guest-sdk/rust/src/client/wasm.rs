//! Requests by `wasi:http/outgoing-handler`.

use std::io::{self, Read};

use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Response};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme, http_error_code,
};
use wasip2::io::streams::{InputStream, StreamError};

use super::error::Error;

/// The maximum length of one write to a stream, in bytes (WASI's contract of
/// `blocking-write-and-flush`).
const PIECE_MAX_BYTES: usize = 4096;

/// The maximum number of bytes of one read.
const BLOCK_MAX_BYTES: usize = 64 * 1024;

/// The stream is declared first, since it is part of the body.
pub(super) struct Incoming {
    stream: InputStream,
    _body: IncomingBody,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = buffer.len().min(BLOCK_MAX_BYTES);
        if size == 0 {
            return Ok(0);
        }
        match self.stream.blocking_read(size as u64) {
            Ok(block) => {
                let front = buffer.get_mut(..block.len());
                let front = front.ok_or_else(|| io::Error::other("a block is too long"))?;
                front.copy_from_slice(&block);
                Ok(block.len())
            }
            Err(StreamError::Closed) => Ok(0),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = http_error_code(&error);
                let code = code.map_or_else(|| error.to_debug_string(), |code| code.to_string());
                Err(io::Error::other(code))
            }
        }
    }
}

pub(super) fn send(parts: &Parts, body: &[u8]) -> Result<Response<Incoming>, Error> {
    let request = OutgoingRequest::new(fields(parts, body)?);
    let invalid = |what: &str| Error::Invalid(what.to_owned());
    let uri = &parts.uri;
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        _ => Scheme::Https,
    };
    let authority = uri.authority().map(|authority| authority.as_str());
    let path = uri.path_and_query().map(|path| path.as_str());
    let set = request.set_method(&method(&parts.method));
    set.map_err(|()| invalid("the method"))?;
    let set = request.set_scheme(Some(&scheme));
    set.map_err(|()| invalid("the scheme"))?;
    let set = request.set_authority(authority);
    set.map_err(|()| invalid("the host"))?;
    let set = request.set_path_with_query(path);
    set.map_err(|()| invalid("the path"))?;
    let outgoing = match body.is_empty() {
        true => None,
        false => Some(request.body().map_err(|()| invalid("the body"))?),
    };
    let response = handle(request, None).map_err(failed)?;
    if let Some(outgoing) = outgoing {
        write(outgoing, body);
    }
    response.subscribe().block();
    let response = response.get().and_then(Result::ok);
    let response = response.ok_or_else(|| Error::Failed("no response".to_owned()))?;
    let response = response.map_err(failed)?;
    let mut builder = Response::builder().status(response.status());
    for (name, value) in response.headers().entries() {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&value)) {
            builder = builder.header(name, value);
        }
    }
    let body = response.consume();
    let body = body.map_err(|()| Error::Failed("no body".to_owned()))?;
    let stream = body.stream();
    let stream = stream.map_err(|()| Error::Failed("no body".to_owned()))?;
    let incoming = Incoming {
        stream,
        _body: body,
    };
    builder
        .body(incoming)
        .map_err(|error| Error::Failed(error.to_string()))
}

/// Returns the fields of a request, with the length of its body.
fn fields(parts: &Parts, body: &[u8]) -> Result<Fields, Error> {
    let fields = Fields::new();
    if !body.is_empty() && !parts.headers.contains_key(CONTENT_LENGTH) {
        let length = body.len().to_string();
        let added = fields.append(CONTENT_LENGTH.as_str(), length.as_bytes());
        added.map_err(|error| Error::Invalid(error.to_string()))?;
    }
    for (name, value) in &parts.headers {
        let added = fields.append(name.as_str(), value.as_bytes());
        added.map_err(|error| Error::Invalid(format!("the field {name}: {error}")))?;
    }
    Ok(fields)
}

/// Writes a body. If the peer doesn't take all of it, its response or error says so.
fn write(outgoing: OutgoingBody, body: &[u8]) {
    let Ok(stream) = outgoing.write() else {
        return;
    };
    for piece in body.chunks(PIECE_MAX_BYTES) {
        if stream.blocking_write_and_flush(piece).is_err() {
            return;
        }
    }
    drop(stream);
    let _ = OutgoingBody::finish(outgoing, None);
}

fn method(method: &http::Method) -> Method {
    match method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn failed(code: ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => Error::Denied,
        code => Error::Failed(code.to_string()),
    }
}
