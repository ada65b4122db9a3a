//! What a response is made of, as the encoder takes it.

/// The head of a response.
///
/// `F` gives the fields in their order; it is walked twice, so it has to be cheap to clone: an
/// iterator over a slice, mapped.
#[derive(Clone, Copy, Debug)]
pub struct ResponseHead<'a, F> {
    /// The status code. One outside 200 to 999 is sent as 500.
    pub status: u16,
    /// The reason phrase, any bytes. One that can't go on the wire is left out.
    pub reason: &'a [u8],
    /// Name and value of each field. Framing (Content-Length, Transfer-Encoding, Connection and
    /// their like) is not for the caller to send: see [`Skipped`].
    pub fields: F,
}

/// The length of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// This many bytes, sent as Content-Length. For HEAD, what GET would have had.
    Known(u64),
    /// Unknown: chunked, or ended by the end of the connection for HTTP/1.0. For HEAD, no length is
    /// said.
    Unknown,
}

/// What the server adds to every answer, unless the answer has its own.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The Date, as an IMF-fixdate (RFC 9110 section 5.6.7).
    pub date: &'a [u8; 29],
    /// The Server, if it is to be told.
    pub server: Option<&'a str>,
}

/// The fields of a response that were not sent, because they could have broken its framing:
/// hop-by-hop fields, a Content-Length that isn't the answer's, a name that is no token, a value
/// with CR, LF or NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Skipped<'a> {
    /// How many.
    pub count: usize,
    /// The name of the first.
    pub first: Option<&'a str>,
}

/// How to send a block of a response's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Frame {
    /// How many of the block's bytes go out: none where the response has no body, and never more
    /// than its Content-Length says.
    pub take: usize,
    /// What follows them.
    pub suffix: &'static [u8],
}

/// How a response's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Finish {
    /// Whole.
    Whole,
    /// Shorter than its Content-Length, or never started: the connection has to be cut.
    Short,
}
